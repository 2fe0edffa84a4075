package command

import (
	"fmt"
	"net"
	"os"

	"github.com/urfave/cli/v2"
)

// AddressFile is the flag of a server that lets it listen on port 0 and somebody wait for it.
var AddressFile = &cli.StringFlag{Name: "address-file", Usage: "write the address listened on to `FILE`"}

// Listen listens where --listen says and writes the address to --address-file.
func Listen(c *cli.Context) (net.Listener, error) {
	l, err := net.Listen("tcp", c.String("listen"))
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", c.String("listen"), err)
	}
	if path := c.String(AddressFile.Name); path != "" {
		if err := announce(path, l.Addr().String()); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

// announce writes the address whole or not at all, because somebody is waiting for the file.
func announce(path, address string) error {
	if err := os.WriteFile(path+".new", []byte(address+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
