package policy

import (
	_ "embed"
	"fmt"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

//go:embed schema.cedarschema
var schemaText []byte

// Schema returns the Cedar schema rules are checked against, for editors and other Cedar tools.
func Schema() string { return string(schemaText) }

func parseSchema() (*resolved.Schema, error) {
	var s schema.Schema
	if err := s.UnmarshalCedar(schemaText); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return s.Resolve()
}

const (
	personType  = types.EntityType("Person")
	groupType   = types.EntityType("Group")
	hostType    = types.EntityType("Host")
	accountType = types.EntityType("Account")
	systemType  = types.EntityType("System")
	actionType  = types.EntityType("Action")
)

var system = types.NewEntityUID(systemType, "postern")

func uid(kind types.EntityType, id string) types.EntityUID {
	return types.NewEntityUID(kind, types.String(id))
}

// target is how an account is written everywhere: as a principal, as an entity, on the command line.
func target(account, host string) string { return account + "@" + host }

// entities turns the data into what Cedar reasons about.
func (s *Set) entities(schema *resolved.Schema) cedar.EntityMap {
	all := cedar.EntityMap{system: {UID: system}}
	for id, action := range schema.Actions {
		all[id] = types.Entity{UID: id, Parents: action.Entity.Parents}
	}
	for _, group := range s.groups {
		all[uid(groupType, group)] = types.Entity{UID: uid(groupType, group)}
	}
	for _, p := range s.people {
		id := uid(personType, p.Name)
		all[id] = types.Entity{UID: id, Parents: uids(groupType, p.Groups),
			Attributes: types.NewRecord(types.RecordMap{"name": types.String(p.Name)})}
	}
	for _, h := range s.hosts {
		addHost(all, h)
	}
	return all
}

func addHost(all cedar.EntityMap, h *Host) {
	host := uid(hostType, h.Name)
	labels := make([]types.Value, 0, len(h.Labels))
	for _, label := range h.Labels {
		labels = append(labels, types.String(label))
	}
	all[host] = types.Entity{UID: host, Attributes: types.NewRecord(types.RecordMap{
		"name": types.String(h.Name), "labels": types.NewSet(labels...)})}
	for _, account := range h.Accounts {
		id := uid(accountType, target(account, h.Name))
		all[id] = types.Entity{UID: id, Parents: types.NewEntityUIDSet(host), Attributes: types.NewRecord(types.RecordMap{
			"name": types.String(account), "host": host})}
	}
}

func uids(kind types.EntityType, ids []string) types.EntityUIDSet {
	set := make([]types.EntityUID, 0, len(ids))
	for _, id := range ids {
		set = append(set, uid(kind, id))
	}
	return types.NewEntityUIDSet(set...)
}

// covers reports whether the scope of a rule lets the entity in. Conditions are another matter.
func covers(entities cedar.EntityMap, scope ast.IsScopeNode, id types.EntityUID) bool {
	switch scope := scope.(type) {
	case ast.ScopeTypeAll:
		return true
	case ast.ScopeTypeEq:
		return scope.Entity == id
	case ast.ScopeTypeIn:
		return within(entities, id, scope.Entity)
	case ast.ScopeTypeInSet:
		for _, entity := range scope.Entities {
			if within(entities, id, entity) {
				return true
			}
		}
	case ast.ScopeTypeIs:
		return scope.Type == id.Type
	case ast.ScopeTypeIsIn:
		return scope.Type == id.Type && within(entities, id, scope.Entity)
	}
	return false
}

// within reports whether id is the ancestor or has it as a parent. No entity of ours has grandparents.
func within(entities cedar.EntityMap, id, ancestor types.EntityUID) bool {
	return id == ancestor || entities[id].Parents.Contains(ancestor)
}
