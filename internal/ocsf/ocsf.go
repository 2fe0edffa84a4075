// Package ocsf says what the audit log says in the words of the Open Cybersecurity Schema Framework, for a SIEM.
//
// Start with a [Mapper], which is told every leaf in order, and [Mapper.Event]. Each leaf becomes one event of the class that fits it best;
// a leaf of a type that this version does not know becomes a base event, so nothing is left out. What OCSF has no place for stands under
// unmapped. testdata/classes.json is what the published schema requires of each class, and a test holds every event against it.
package ocsf

import (
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/ca/auditlog"
)

// Version is that of the schema.
const Version = "1.5.0"

// Classes that are used. A class is numbered by its category and its own number in it.
const (
	classBase      = 0
	classAuthorize = 3003 // Authorize Session
	classEntity    = 3004 // Entity Management
	classAccess    = 3005 // User Access Management
	classSSH       = 4007 // SSH Activity
)

var classNames = map[int]string{
	classBase: "Base Event", classAuthorize: "Authorize Session", classEntity: "Entity Management", classAccess: "User Access Management", classSSH: "SSH Activity",
}

var categories = map[int]string{0: "Uncategorized", 3: "Identity & Access Management", 4: "Network Activity"}

// The activities of those classes; 99 is any other.
const (
	entityCreate, entityRead, entityUpdate, entityDelete = 1, 2, 3, 4
	accessAssign, accessRevoke                           = 1, 2
	authorizeAssign                                      = 1
	sshOpen, sshClose, sshReset, sshFail, sshTraffic     = 1, 2, 3, 4, 6
	other                                                = 99
)

var activities = map[int]map[int]string{
	classEntity:    {entityCreate: "Create", entityRead: "Read", entityUpdate: "Update", entityDelete: "Delete"},
	classAccess:    {accessAssign: "Assign Privileges", accessRevoke: "Revoke Privileges"},
	classAuthorize: {authorizeAssign: "Assign Privileges"},
	classSSH:       {sshOpen: "Open", sshClose: "Close", sshReset: "Reset", sshFail: "Fail", sshTraffic: "Traffic"},
}

// Severities.
const (
	informational, low, medium, high = 1, 2, 3, 4
)

var severities = map[int]string{informational: "Informational", low: "Low", medium: "Medium", high: "High"}

// Event is one event, with the members that we use. Which are there depends on its class.
type Event struct {
	ClassUID     int            `json:"class_uid"`
	ClassName    string         `json:"class_name"`
	CategoryUID  int            `json:"category_uid"`
	CategoryName string         `json:"category_name"`
	ActivityID   int            `json:"activity_id"`
	ActivityName string         `json:"activity_name"`
	TypeUID      int            `json:"type_uid"`
	SeverityID   int            `json:"severity_id"`
	Severity     string         `json:"severity"`
	Time         int64          `json:"time"` // milliseconds
	StatusID     int            `json:"status_id"`
	Status       string         `json:"status"`
	StatusDetail string         `json:"status_detail,omitempty"`
	Message      string         `json:"message"`
	Metadata     Metadata       `json:"metadata"`
	Actor        *Actor         `json:"actor,omitempty"`
	User         *User          `json:"user,omitempty"`
	Privileges   []string       `json:"privileges,omitempty"`
	Resources    []Resource     `json:"resources,omitempty"`
	Session      *Session       `json:"session,omitempty"`
	Entity       *Entity        `json:"entity,omitempty"`
	Comment      string         `json:"comment,omitempty"`
	Source       *Endpoint      `json:"src_endpoint,omitempty"`
	Destination  *Endpoint      `json:"dst_endpoint,omitempty"`
	AuthType     string         `json:"auth_type,omitempty"`
	AuthTypeID   int            `json:"auth_type_id,omitempty"`
	Duration     int64          `json:"duration,omitempty"` // milliseconds
	EndTime      int64          `json:"end_time,omitempty"`
	Observables  []Observable   `json:"observables,omitempty"`
	Unmapped     map[string]any `json:"unmapped"`
}

// Metadata says where the event comes from. UID is the log's origin and the index, which no two leaves share.
type Metadata struct {
	Version      string   `json:"version"`
	Product      Product  `json:"product"`
	UID          string   `json:"uid"`
	Sequence     int64    `json:"sequence"`
	EventCode    string   `json:"event_code"` // type of the leaf
	LogName      string   `json:"log_name"`
	LogProvider  string   `json:"log_provider"`
	OriginalTime string   `json:"original_time"`
	Correlation  string   `json:"correlation_uid,omitempty"` // the request, where there is one
	Profiles     []string `json:"profiles,omitempty"`
}

// Product is us.
type Product struct {
	Name    string `json:"name"`
	Vendor  string `json:"vendor_name"`
	Version string `json:"version,omitempty"`
}

// Actor caused the event.
type Actor struct {
	User    *User    `json:"user,omitempty"`
	Session *Session `json:"session,omitempty"`
	App     string   `json:"app_name,omitempty"` // a machine or the CA itself
}

// User is a person, or an account on a host.
type User struct {
	Name   string `json:"name"`
	UID    string `json:"uid,omitempty"`
	TypeID int    `json:"type_id"`
	Type   string `json:"type,omitempty"`
}

// Resource is what privileges are for: account@host.
type Resource struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"`
}

// Session is one SSH session.
type Session struct {
	UID     string `json:"uid"`
	Created int64  `json:"created_time,omitempty"`
	Expires int64  `json:"expiration_time,omitempty"`
}

// Entity is anything that is managed: a request, a policy, a key, a recording.
type Entity struct {
	UID  string `json:"uid,omitempty"`
	Name string `json:"name"`
	Type string `json:"type"`
}

// Endpoint is one end of a connection.
type Endpoint struct {
	Hostname string `json:"hostname,omitempty"`
	IP       string `json:"ip,omitempty"`
	Port     int    `json:"port,omitempty"`
	Name     string `json:"name,omitempty"`
}

// Observable is a value that a SIEM finds without knowing the class.
type Observable struct {
	Name   string `json:"name"`
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
	Value  string `json:"value"`
}

// Mapper makes events. It remembers the requests and sessions that have not ended, because what comes of them names them by their ID alone.
// Its fields are there to be kept between runs.
type Mapper struct {
	Origin   string             `json:"origin,omitempty"` // name of the CA and of its log
	Product  string             `json:"-"`                // version of the program that reads
	Requests map[string]asked   `json:"requests,omitempty"`
	Sessions map[string]running `json:"sessions,omitempty"`
}

type asked struct {
	Person       string   `json:"person"`
	Targets      []string `json:"targets"`
	Capabilities []string `json:"capabilities"`
}

type running struct {
	Person  string    `json:"person"`
	Target  string    `json:"target"`
	Client  string    `json:"client"`
	Request string    `json:"request"`
	Bastion string    `json:"bastion"`
	Started time.Time `json:"started"`
}

// Leaf is one leaf as it was fetched.
type Leaf struct {
	Index int64
	Hash  [32]byte
	Data  []byte
}

// Event is the event of the next leaf. Every leaf of the log is given once and in order, also those whose event nobody wants.
func (m *Mapper) Event(l Leaf) Event {
	if m.Requests == nil {
		m.Requests = map[string]asked{}
	}
	if m.Sessions == nil {
		m.Sessions = map[string]running{}
	}
	entry, err := auditlog.Decode(l.Data)
	e := Event{StatusID: 1, Status: "Success", SeverityID: informational, Unmapped: map[string]any{"leaf_hash": hexOf(l.Hash)}}
	if err != nil {
		e.is(classBase, other)
		e.StatusID, e.Status, e.SeverityID, e.Message = 2, "Failure", high, "a leaf of the audit log that is no entry"
		e.Unmapped["data"] = l.Data
	} else {
		m.place(&e, entry, l.Data)
	}
	m.finish(&e, entry, l)
	return e
}

func (e *Event) is(class, activity int) {
	e.ClassUID, e.CategoryUID, e.ActivityID, e.TypeUID = class, class/1000, activity, class*100+activity
	e.ClassName, e.CategoryName = classNames[class], categories[class/1000]
	e.ActivityName = activities[class][activity]
	if activity == other || e.ActivityName == "" {
		e.ActivityName = "Other"
	}
}

func (m *Mapper) finish(e *Event, entry auditlog.Entry, l Leaf) {
	e.Severity = severities[e.SeverityID]
	if e.ClassUID == classBase && entry.Type != "" {
		e.ActivityName = entry.Type
	}
	e.Time = max(0, entry.At.UnixMilli())
	if e.Comment != "" && e.ClassUID != classEntity { // no other class has one
		e.Unmapped["comment"], e.Comment = e.Comment, ""
	}
	profiles := []string(nil)
	if e.Actor == nil && entry.Actor != "" {
		e.Actor = actorOf(entry)
	}
	if e.Actor != nil {
		profiles = []string{"host"} // which is where actor comes from
	}
	e.Metadata = Metadata{
		Version: Version, Product: Product{Name: "postern", Vendor: "postern", Version: m.Product}, UID: m.Origin + "/" + strconv.FormatInt(l.Index, 10),
		Sequence: l.Index, EventCode: entry.Type, LogName: m.Origin, LogProvider: "postern-ca", OriginalTime: entry.At.UTC().Format(time.RFC3339Nano),
		Correlation: requestOf(entry), Profiles: profiles,
	}
	for _, end := range []*Endpoint{e.Source, e.Destination} {
		if end != nil && end.Hostname == "" && end.IP == "" && end.Name == "" {
			end.Name = "unknown" // whoever wrote the leaf named none, and the schema wants one
		}
	}
	if e.Entity != nil && e.Entity.Name == "" && e.Entity.UID == "" {
		e.Entity.Name = "unknown"
	}
	e.Observables = observables(e)
}

func actorOf(entry auditlog.Entry) *Actor {
	switch entry.Type {
	case auditlog.TypeGenesis, auditlog.TypePolicy, auditlog.TypeState, auditlog.TypeCertificate, auditlog.TypeSession, auditlog.TypeProgress, auditlog.TypeDeletion, auditlog.TypeReceipt, auditlog.TypeOverdue, auditlog.TypeSheetUse:
		return &Actor{App: entry.Actor}
	}
	if entry.Actor == "ca" {
		return &Actor{App: entry.Actor}
	}
	return &Actor{User: person(entry.Actor)}
}

func person(name string) *User { return &User{Name: name, TypeID: 1, Type: "User"} }

func requestOf(entry auditlog.Entry) string {
	switch {
	case entry.Request != nil:
		return entry.Request.ID
	case entry.Vote != nil:
		return entry.Vote.Request
	case entry.State != nil:
		return entry.State.Request
	case entry.Extension != nil:
		return entry.Extension.Request
	case entry.Halt != nil:
		return entry.Halt.Request
	case entry.Certificate != nil:
		return entry.Certificate.Request
	case entry.Session != nil:
		return entry.Session.Request
	case entry.Overdue != nil:
		return entry.Overdue.Request
	case entry.Sheet != nil:
		return entry.Sheet.Request
	case entry.SheetUse != nil:
		return entry.SheetUse.Request
	}
	return ""
}

func observables(e *Event) (list []Observable) {
	add := func(name string, id int, kind, value string) {
		if value != "" && !slices.ContainsFunc(list, func(o Observable) bool { return o.Name == name }) {
			list = append(list, Observable{name, id, kind, value})
		}
	}
	if e.User != nil {
		add("user.name", 4, "User Name", e.User.Name)
	}
	if e.Actor != nil && e.Actor.User != nil {
		add("actor.user.name", 4, "User Name", e.Actor.User.Name)
	}
	if e.Source != nil {
		add("src_endpoint.ip", 2, "IP Address", e.Source.IP)
	}
	if e.Destination != nil {
		add("dst_endpoint.hostname", 1, "Hostname", e.Destination.Hostname)
	}
	return list
}

func endpoint(address string) *Endpoint {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return &Endpoint{Name: address}
	}
	n, _ := strconv.Atoi(port)
	if ip := net.ParseIP(host); ip != nil {
		return &Endpoint{IP: ip.String(), Port: n}
	}
	return &Endpoint{Hostname: host, Port: n}
}

func split(target string) (account, host string) {
	account, host, _ = strings.Cut(target, "@")
	return account, host
}

// raw is the member of the entry that is named like its type.
func raw(entry auditlog.Entry, data []byte) any {
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return nil
	}
	for _, name := range []string{entry.Type, strings.ReplaceAll(entry.Type, "-", "_")} {
		if member, ok := members[name]; ok {
			return member
		}
	}
	return json.RawMessage(data)
}

func hexOf(h [32]byte) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 64)
	for _, b := range h {
		out = append(out, digits[b>>4], digits[b&15])
	}
	return string(out)
}
