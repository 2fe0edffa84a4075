// Package rawssh is an SSH client for tests that attack: it logs in like any other, and between that and before it sends whatever it is
// told to, packet by packet. Start with [New].
//
// It speaks curve25519-sha256 and aes128-gcm and checks nothing: not the host key, nor what the server answers.
package rawssh

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/crypto/ssh"
)

// Version is the line with which a Client introduces itself.
const Version = "SSH-2.0-OpenSSH_9.2 rawssh"

// Client is one connection. Its methods are for one goroutine, but one may read while another writes.
type Client struct {
	net.Conn
	in, out half
	version string // the server's
	session []byte // the identifier of the session: the first exchange hash
}

// half is one direction: in the clear until there is a key.
type half struct {
	aead  cipher.AEAD
	nonce []byte
}

// New is a client on a connection on which nothing has been said.
func New(c net.Conn) *Client { return &Client{Conn: c} }

// Packet is a message and what it is made of, in the types of golang.org/x/crypto/ssh.Marshal.
func Packet(message byte, fields any) []byte {
	if fields == nil {
		return []byte{message}
	}
	return append([]byte{message}, ssh.Marshal(fields)...)
}

// Hello exchanges the lines that come first.
func (c *Client) Hello() error {
	if _, err := io.WriteString(c.Conn, Version+"\r\n"); err != nil {
		return err
	}
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(c.Conn, b); err != nil {
			return err
		}
		if b[0] == '\n' {
			break
		}
		line = append(line, b[0])
	}
	c.version = string(bytes.TrimSuffix(line, []byte("\r")))
	return nil
}

// Send sends one packet, whatever is in it.
func (c *Client) Send(payload []byte) error {
	_, err := c.Conn.Write(c.Seal(payload))
	return err
}

// Seal makes what goes over the wire of a payload. Packets are to be sent in the order in which they were sealed.
func (c *Client) Seal(payload []byte) []byte {
	block, covered := 8, 5+len(payload)
	if c.out.aead != nil {
		block, covered = 16, 1+len(payload)
	}
	padding := block - covered%block
	if padding < 4 {
		padding += block
	}
	packet := make([]byte, 5, 5+len(payload)+padding+16)
	binary.BigEndian.PutUint32(packet, uint32(1+len(payload)+padding))
	packet[4] = byte(padding)
	packet = append(packet, payload...)
	packet = packet[:len(packet)+padding]
	return c.out.seal(packet)
}

func (h *half) seal(packet []byte) []byte {
	if h.aead == nil {
		return packet
	}
	sealed := h.aead.Seal(packet[4:4], h.nonce, packet[4:], packet[:4])
	h.step()
	return packet[:4+len(sealed)]
}

func (h *half) step() {
	binary.BigEndian.PutUint64(h.nonce[4:], binary.BigEndian.Uint64(h.nonce[4:])+1)
}

// Receive receives one packet.
func (c *Client) Receive() ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(c.Conn, head); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head))
	if n < 2 || n > 1<<20 {
		return nil, fmt.Errorf("a packet of %d bytes", n)
	}
	if c.in.aead != nil {
		n += c.in.aead.Overhead()
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.Conn, body); err != nil {
		return nil, err
	}
	if c.in.aead != nil {
		var err error
		if body, err = c.in.aead.Open(body[:0], c.in.nonce, body, head); err != nil {
			return nil, err
		}
		c.in.step()
	}
	if len(body) < 1+int(body[0])+1 {
		return nil, errors.New("a packet that is all padding")
	}
	return body[1 : len(body)-int(body[0])], nil
}

// Expect reads until a message of that number comes.
func (c *Client) Expect(message byte) ([]byte, error) {
	for {
		p, err := c.Receive()
		if err != nil {
			return nil, err
		}
		switch {
		case p[0] == message:
			return p, nil
		case p[0] == 1:
			return nil, fmt.Errorf("the server disconnects: %q", p[1:])
		}
	}
}

// Init is the client's offer.
func Init() []byte {
	return Packet(20, struct {
		Cookie                                           [16]byte
		KeyExchanges, HostKeys                           []string
		CiphersOut, CiphersIn, MACsOut, MACsIn           []string
		CompressionOut, CompressionIn, Languages, Langua []string
		Follows                                          bool
		Reserved                                         uint32
	}{
		KeyExchanges: []string{"curve25519-sha256"},
		HostKeys:     []string{"ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"},
		CiphersOut:   []string{"aes128-gcm@openssh.com"}, CiphersIn: []string{"aes128-gcm@openssh.com"},
		MACsOut: []string{"hmac-sha2-256"}, MACsIn: []string{"hmac-sha2-256"},
		CompressionOut: []string{"none"}, CompressionIn: []string{"none"},
	})
}

// Exchange exchanges keys, the first time or again.
func (c *Client) Exchange() error {
	ours := Init()
	if err := c.Send(ours); err != nil {
		return err
	}
	theirs, err := c.Expect(20)
	if err != nil {
		return err
	}
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	public := key.PublicKey().Bytes()
	if err := c.Send(Packet(30, struct{ Public []byte }{public})); err != nil {
		return err
	}
	answer, err := c.Expect(31)
	if err != nil {
		return err
	}
	var reply struct{ HostKey, Public, Signature []byte }
	if err := ssh.Unmarshal(answer[1:], &reply); err != nil {
		return err
	}
	peer, err := ecdh.X25519().NewPublicKey(reply.Public)
	if err != nil {
		return err
	}
	secret, err := key.ECDH(peer)
	if err != nil {
		return err
	}
	shared := mpint(secret)
	hash := sha256.Sum256(append(ssh.Marshal(struct {
		ClientVersion, ServerVersion string
		ClientInit, ServerInit       []byte
		HostKey, Ours, Theirs        []byte
	}{Version, c.version, ours, theirs, reply.HostKey, public, reply.Public}), shared...))
	if c.session == nil {
		c.session = hash[:]
	}
	if err := c.Send([]byte{21}); err != nil {
		return err
	}
	derive := func(letter byte) []byte {
		sum := sha256.Sum256(bytes.Join([][]byte{shared, hash[:], {letter}, c.session}, nil))
		return sum[:]
	}
	c.out = newHalf(derive('A'), derive('C'))
	if _, err := c.Expect(21); err != nil {
		return err
	}
	c.in = newHalf(derive('B'), derive('D'))
	return nil
}

func newHalf(nonce, key []byte) half {
	block, err := aes.NewCipher(key[:16])
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return half{aead, nonce[:12]}
}

// mpint is a positive number as RFC 4251 writes it.
func mpint(b []byte) []byte {
	b = bytes.TrimLeft(b, "\x00")
	if len(b) > 0 && b[0] >= 0x80 {
		b = append([]byte{0}, b...)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// Login says hello, exchanges keys and authenticates with a key or a certificate.
func (c *Client) Login(user string, signer ssh.Signer) error {
	if err := c.Hello(); err != nil {
		return err
	}
	if err := c.Exchange(); err != nil {
		return err
	}
	if err := c.Service(); err != nil {
		return err
	}
	request, err := c.Authentication(user, signer)
	if err != nil {
		return err
	}
	if err := c.Send(request); err != nil {
		return err
	}
	for {
		p, err := c.Receive()
		if err != nil {
			return err
		}
		switch p[0] {
		case 52:
			return nil
		case 51, 1:
			return fmt.Errorf("login refused: %q", p[1:])
		}
	}
}

// Service asks for authentication to begin.
func (c *Client) Service() error {
	if err := c.Send(Packet(5, struct{ Name string }{"ssh-userauth"})); err != nil {
		return err
	}
	_, err := c.Expect(6)
	return err
}

// Authentication is the request that proves a key.
func (c *Client) Authentication(user string, signer ssh.Signer) ([]byte, error) {
	public := signer.PublicKey()
	algorithm := public.Type()
	body := ssh.Marshal(struct {
		User, Service, Method string
		Signed                bool
		Algorithm             string
		Key                   []byte
	}{user, "ssh-connection", "publickey", true, algorithm, public.Marshal()})
	signed := append(ssh.Marshal(struct{ Session []byte }{c.session}), 50)
	signature, err := signer.Sign(rand.Reader, append(signed, body...))
	if err != nil {
		return nil, err
	}
	body = append(body, ssh.Marshal(struct{ Signature []byte }{ssh.Marshal(signature)})...)
	return append([]byte{50}, body...), nil
}
