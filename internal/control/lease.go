package control

import "time"

// BastionLease answers bastions: what the CA knows of a bastion's right to keep sessions alive.
type BastionLease struct {
	Bastion string    `json:"bastion"`
	Heard   time.Time `json:"heard"` // when its last ping was answered; zero: not since the CA was started
	Keeps   time.Time `json:"keeps"` // at the latest its sessions end then, unless it is answered again
	Now     time.Time `json:"now"`   // the CA's clock, by which these are
}
