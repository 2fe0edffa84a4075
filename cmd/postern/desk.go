package main

import "postern/internal/auditor"

// desk is where this auditor works.
func (c *client) desk() *auditor.Desk {
	return &auditor.Desk{CA: c.Client, Sign: c.keys.named, Home: c.settings.Home, KnownHosts: c.settings.knownHosts(), Ask: askSecret}
}
