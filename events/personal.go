package events

// Personal is what can be forgotten: it is stored sealed with a key of the
// participant's own, and gone when that key is. Key is the number of the key.
// Once erased, only Key is left.
type Personal struct {
	Key       int64  `json:"key,omitempty"`
	Sealed    []byte `json:"sealed,omitempty"` // as stored; empty in memory
	Name      string `json:"name,omitempty"`
	Email     string `json:"email,omitempty"`
	Phone     string `json:"phone,omitempty"`
	PushToken string `json:"push_token,omitempty"`
	Message   string `json:"message,omitempty"`
}

// empty tells that there is nothing to seal, and no key that it would be sealed with.
func (p Personal) empty() bool {
	return p.Key == 0 && len(p.Sealed) == 0 && p.Name == "" && p.Email == "" && p.Phone == "" && p.PushToken == "" && p.Message == ""
}

// Keys seals and opens under the key of a number. bound is what the sealed
// bytes belong to: opened with another, they are refused. ok is false when the
// key was erased.
type Keys interface {
	Seal(key int64, plain, bound []byte) ([]byte, error)
	Open(key int64, sealed, bound []byte) (plain []byte, ok bool, err error)
}

// personal is a fact that holds personal data.
type personal interface {
	Fact
	personal() Personal
	withPersonal(Personal) Fact
}

func (f ParticipantRegistered) personal() Personal     { return f.Personal }
func (f ParticipantContactChanged) personal() Personal { return f.Personal }
func (f NotificationSent) personal() Personal          { return f.Personal }

func (f ParticipantRegistered) withPersonal(p Personal) Fact {
	f.Personal = p
	return f
}

func (f ParticipantContactChanged) withPersonal(p Personal) Fact {
	f.Personal = p
	return f
}

func (f NotificationSent) withPersonal(p Personal) Fact {
	f.Personal = p
	return f
}
