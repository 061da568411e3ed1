package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/belltower/belltower/internal/client"
)

// roster is who is registered for an event.
type roster struct {
	byUser, byEmail map[string]*participant
}

func loadRoster(ctx context.Context, c *client.Client, eventID string) (roster, error) {
	r := roster{map[string]*participant{}, map[string]*participant{}}
	for item, err := range c.List(ctx, one("/v1/events", eventID, "participants"), nil, 0) {
		if err != nil {
			return r, err
		}
		p, err := decode[participant](item)
		if err != nil {
			return r, err
		}
		r.add(p)
	}
	return r, nil
}

func (r roster) add(p participant) {
	r.byUser[p.UserID] = &p
	r.byEmail[strings.ToLower(p.Email)] = &p
}

// match finds whom a line is about; nil: nobody yet. Its error says that it can't
// be one of them.
func (r roster) match(l csvLine) (*participant, error) {
	body := l.body()
	user, _ := body["user_id"].(string)
	byUser, byEmail := r.byUser[user], r.byEmail[strings.ToLower(l.fields["email"])]
	switch {
	case byUser == nil && byEmail != nil && l.fields["user_id"] != "":
		return nil, fmt.Errorf("email: %s is registered as the user %q, not %q", l.fields["email"], byEmail.UserID, user)
	case byUser != nil && byEmail != nil && byUser.ID != byEmail.ID:
		return nil, fmt.Errorf("the user %q and the address %s are registered as two participants", user, l.fields["email"])
	case byUser != nil:
		return byUser, nil
	}
	return byEmail, nil
}

// differences names what a line has otherwise than p. What it leaves out is no difference.
func differences(l csvLine, p *participant) (names []string) {
	for _, name := range csvColumns {
		text, given := l.fields[name]
		if !given {
			continue
		}
		same := true
		switch name {
		case "name":
			same = text == p.Name
		case "email":
			same = strings.EqualFold(text, p.Email)
		case "phone":
			same = p.Phone != nil && dialled(text) == *p.Phone
		case "channels":
			same = sameSet(l.body()["channels"].([]string), p.Channels)
		case "time_zone":
			same = p.TimeZone != nil && text == *p.TimeZone
		case "locale":
			same = p.Locale != nil && text == *p.Locale
		}
		if !same {
			names = append(names, name)
		}
	}
	return names
}

// dialled is a phone number as the service keeps it.
func dialled(phone string) string {
	return strings.NewReplacer(" ", "", ".", "", "-", "", "(", "", ")", "").Replace(phone)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b))))
}
