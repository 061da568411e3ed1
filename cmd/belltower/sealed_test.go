package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What identifies people. Nothing else in the tests is like it.
var personal = []string{
	"Zéphyrine Quackenbush", "zephyrine.quackenbush@birds.example", "Zephyrine.Quackenbush@BIRDS.example", "+4366012345678",
	"push-token-of-zephyrine-7Qw3kPz",
	"Thaddäus Okonkwo-Brandt", "thaddaeus@okonkwo.example", "+4369998765432", "push-token-of-thaddaeus-Lm29xYv",
	"Zéphyrine Okonkwo", "z.okonkwo@married.example", "+4367711122233",
	"Ulrike Unregistered", "ulrike.unregistered@nowhere.example",
	"Good evening Zéphyrine Quackenbush, bring a lantern", "Good evening Thaddäus Okonkwo-Brandt, bring a lantern",
	`Hello Zéphyrine Okonkwo, "Change ringing" starts`,
}

// people use the service; what was sent is waited for.
func people(t *testing.T, p *process) {
	event := p.does(t, 201, "POST", "/v1/events", anEvent(time.Hour, object{"title": "Change ringing", "capacity": 5}))
	path := "/v1/events/" + event.text("id")
	p.does(t, 201, "POST", path+"/reminders", object{"minutes_before": 20})
	keyed := p.client()
	keyed.key = "key of zephyrine.quackenbush@birds.example"
	first, err := keyed.ask(t.Context(), "POST", path+"/participants", "", object{
		"user_id": "u-1", "name": "Zéphyrine Quackenbush", "email": "Zephyrine.Quackenbush@BIRDS.example", "phone": "+43 660 1234 5678",
		"push_token": "push-token-of-zephyrine-7Qw3kPz", "channels": []string{"email", "sms", "push"},
	})
	require.NoError(t, err)
	require.Equal(t, 201, first.status, first.body)
	p.does(t, 201, "POST", path+"/participants", object{
		"user_id": "u-2", "name": "Thaddäus Okonkwo-Brandt", "email": "thaddaeus@okonkwo.example", "phone": "+4369998765432",
		"push_token": "push-token-of-thaddaeus-Lm29xYv", "channels": []string{"sms", "push"},
	})
	// Refused, and so never anywhere.
	p.does(t, 409, "POST", path+"/participants", object{"user_id": "u-2", "name": "Ulrike Unregistered", "email": "ulrike.unregistered@nowhere.example"})
	p.does(t, 422, "POST", path+"/participants", object{"user_id": "u-3", "name": "Ulrike Unregistered", "email": "ulrike.unregistered@nowhere.example>"})
	p.does(t, 202, "POST", path+"/announcements", object{"message": "Good evening {{ participant.name }}, bring a lantern"})
	// Moved past its due time, the reminder is sent at once.
	move := func(ahead time.Duration) {
		start := time.Now().Add(ahead)
		p.does(t, 200, "PATCH", path, object{"start_time": at(start), "end_time": at(start.Add(time.Hour))})
	}
	move(19 * time.Minute)
	sent := func(n int) {
		until(t, strconv.Itoa(n)+" are sent", func() bool {
			return len(p.does(t, 200, "GET", path+"/notifications?status=SENT", nil).items()) == n
		})
	}
	sent(10)
	zephyrine := "/v1/participants/" + first.body.text("id")
	p.does(t, 200, "PATCH", zephyrine, object{"name": "Zéphyrine Okonkwo", "email": "z.okonkwo@married.example", "phone": "+4367711122233"})
	p.does(t, 200, "GET", path+"/participants?q=okonkwo", nil)
	move(18 * time.Minute)
	sent(15)
	p.does(t, 204, "DELETE", zephyrine, nil)
}

// forms gives the ways in which bytes may stand in a file and be read by someone who looks.
func forms(secret string) map[string][]byte {
	found := map[string][]byte{"plain": []byte(secret), "hex": []byte(hex.EncodeToString([]byte(secret))), "HEX": []byte(strings.ToUpper(hex.EncodeToString([]byte(secret))))}
	escaped, _ := json.Marshal(secret)
	found["JSON"] = escaped[1 : len(escaped)-1]
	found["ASCII"] = []byte(strings.Trim(strconv.QuoteToASCII(secret), `"`))
	for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
		for offset := range 3 {
			// What stands before and behind it changes the characters at its ends.
			text := encoding.EncodeToString([]byte(strings.Repeat("x", offset) + secret))
			found[name+"+"+strconv.Itoa(offset)] = []byte(text[(offset*8+5)/6 : len(text)-1])
		}
	}
	return found
}

// clear says where one of the secrets can be read.
func clear(content []byte, secrets []string) (found []string) {
	content = bytes.ToLower(content)
	for _, secret := range secrets {
		for form, text := range forms(secret) {
			if bytes.Contains(content, bytes.ToLower(text)) {
				found = append(found, form+" "+secret)
			}
		}
	}
	return found
}

func TestSearchFindsWhatIsThere(t *testing.T) {
	for _, secret := range personal {
		for offset := range 4 {
			text := strings.Repeat("a", offset) + secret + "bcd"
			quoted, err := json.Marshal(text)
			require.NoError(t, err)
			for _, content := range []string{
				text, string(quoted), strconv.QuoteToASCII(text), hex.EncodeToString([]byte(text)), strings.ToUpper(text),
				base64.StdEncoding.EncodeToString([]byte(text)), base64.URLEncoding.EncodeToString([]byte(text)), base64.RawStdEncoding.EncodeToString([]byte(text)),
			} {
				require.NotEmpty(t, clear([]byte(content), []string{secret}), content)
			}
		}
	}
	require.Empty(t, clear([]byte("nothing of the kind"), personal))
}

// readModels hold what people look up: they are disposable, and erased with the person.
func readModels(name string) bool { return strings.HasPrefix(name, "read.db") }

// What the log keeps for ever tells of nobody; neither do the keys, the
// planner's table, and what the service says of its work.
func TestPersonalDataIsSealed(t *testing.T) {
	for how, end := range map[string]func(t *testing.T, p *process){
		"stopped": func(t *testing.T, p *process) { p.finish(t, syscall.SIGTERM) },
		"killed":  func(t *testing.T, p *process) { p.kill(t) },
	} {
		t.Run(how, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "data")
			p := serving(t, folder, "BELLTOWER_TOKENS=zora:token-of-zora-Kq81")
			people(t, p)
			end(t, p)
			files, err := os.ReadDir(folder)
			require.NoError(t, err)
			var log []byte
			var names []string
			for _, f := range files {
				content, err := os.ReadFile(filepath.Join(folder, f.Name()))
				require.NoError(t, err)
				names = append(names, f.Name())
				if strings.HasPrefix(f.Name(), "events.db") {
					log = append(log, content...)
				}
				if !readModels(f.Name()) {
					require.Empty(t, clear(content, personal), f.Name())
				}
				require.Empty(t, clear(content, []string{testAdmin, "token-of-zora-Kq81"}), f.Name())
				info, err := f.Info()
				require.NoError(t, err)
				require.Zero(t, info.Mode().Perm()&0o077, "%s is open to others: %s", f.Name(), info.Mode())
			}
			require.Contains(t, names, "events.db")
			require.Contains(t, names, "keys.db")
			require.Contains(t, string(log), "Change ringing", "the search reads what is there")
			if how == "killed" {
				require.True(t, slices.Contains(names, "events.db-wal"), names)
			}
			require.Empty(t, clear([]byte(p.err.String()), append(personal, testAdmin, "token-of-zora-Kq81")), "in what it logs")
			require.Empty(t, clear([]byte(p.out.String()), []string{testAdmin, "token-of-zora-Kq81", "zephyrine.quackenbush@birds.example", "+4366012345678"}), "on stdout")
			require.NotEmpty(t, sentLines(t, p.out.String()))

			// And all of it is there for those who may read it.
			p = serving(t, folder)
			p.ready(t)
			events := p.does(t, 200, "GET", "/v1/events", nil).items()
			require.Len(t, events, 1)
			left := p.does(t, 200, "GET", "/v1/events/"+events[0].text("id")+"/participants", nil).items()
			require.Len(t, left, 1)
			require.Equal(t, "Thaddäus Okonkwo-Brandt", left[0].text("name"))
		})
	}
}
