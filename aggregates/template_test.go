package aggregates_test

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
)

func bindings(change func(*aggregates.Event, *aggregates.Participant)) aggregates.Bindings {
	f := scheduled(10)
	f.Title, f.Tags = "Choir", []string{"b", "a"}
	e := fold(f, registered("ann", false))
	p, _ := e.Participant("ann")
	change(e, p)
	return aggregates.BindingsFor(e, p, &aggregates.Reminder{MinutesBefore: 15}, &aggregates.Announcement{ID: "a"}, noon)
}

func TestRenderTemplate(t *testing.T) {
	b := bindings(func(_ *aggregates.Event, p *aggregates.Participant) { p.TimeZone = "America/New_York" })
	for source, want := range map[string]string{
		aggregates.DefaultReminderMessage: `Hello ann, "Choir" starts in 1 day`,
		"no names":                        "no names",
		"{{ event.start_time }} {{ event.local_start }}":                                                                    "2031-05-07T12:00:00Z Wed, 7 May 2031 08:00 EDT",
		`{{ event.start_time | date: "%H:%M %Z" }} {{ now | date: "%Y" }}`:                                                  "08:00 EDT 2031",
		"{{ reminder.minutes_before }} {{ participant.status }} {{ participant.response }}":                                 "15 confirmed needs_action",
		"{{ event.capacity | minus: event.participant_count }} of {{ event.capacity }}":                                     "9 of 10",
		`{{ event.location | default: "here" }}{% if event.location %}!{% endif %}`:                                         "here",
		"{% for t in event.tags reversed %}{{ forloop.index }}{{ t }}{% unless forloop.last %},{% endunless %}{% endfor %}": "1a,2b",
		`{% for t in event.tags limit: 1 offset:1 %}{{ t }}{% else %}none{% endfor %}`:                                      "a",
		`{% for t in event.tags %}{% if t == "b" %}{% continue %}{% endif %}{{ t }}{% break %}{% endfor %}`:                 "a",
		`{{ event.tags | sort | join: "+" }} {{ event.tags.size }} {{ event.tags[0] }} {{ event.tags.last }}`:               "a+b 2 b a",
		`{% assign x = event.title | upcase %}{% capture y %}{{ x }}!{% endcapture %}{{ y }} {{ y.size }}`:                  "CHOIR! 6",
		`{% case event.status %}{% when "x", "scheduled" %}on{% else %}off{% endcase %}`:                                    "on",
		`{% if event.capacity > 9 and event.title contains "oi" %}a{% elsif event.id %}b{% else %}c{% endif %}`:             "a",
		"{% raw %}{{ x }}{% endraw %}{% comment %}{{ y {% endcomment %}":                                                    "{{ x }}",
		"a {%- if true -%} b {%- endif -%} c":                                                                               "abc",
		"{{ (1..3) | reverse | join }} {% for i in (1..3) %}{{ i }}{% endfor %}":                                            "3 2 1 123",
		`{{ "élan" | capitalize }} {{ "abc" | slice: 1, 9 }} {{ "abc" | slice: 9 }} {{ "ab" | replace: "b", "c" }}`:         "Élan bc  ac",
		`{{ "one two three" | truncate: 7 }} {{ "one two three" | truncatewords: 2 }} {{ "a,b" | split: "," | last }}`:      "one ... one two... b",
		`{{ "a,a,b" | split: "," | uniq | size }} {{ 7 | divided_by: 2 }} {{ "<b>" | escape }}`:                             "2 3 &lt;b&gt;",
	} {
		code, message := aggregates.CheckTemplate(aggregates.ReminderTemplate, source)
		require.Empty(t, code, "%s: %s", source, message)
		got, err := aggregates.RenderTemplate(source, b)
		require.NoError(t, err, source)
		require.Equal(t, want, got, source)
	}
}

func TestCheckTemplate(t *testing.T) {
	b := bindings(func(*aggregates.Event, *aggregates.Participant) {})
	for _, source := range []string{
		"{{", "}} {{ ", "{{ event.title", "{% if true %}", "{%", "{% %}", "{{}}", "{{ }}", "a {{ event.title }", "{{ event.title }} {{ x", "{% endif %}",
		"{{ x }}", "{{ event }}", "{{ event.x }}", "{{ participant }}", "{{ participant.email }}", "{{ participant.name.x }}", "{{ event.title.length }}",
		"{{ event['title'] }}", "{{ announcement.id }}", "{{ Event.title }}", "{{ event.title | x }}", "{{ event.title | append: x }}", "{{ event.tags[x] }}",
		"{% if x %}{% endif %}", "{% if true %}{% else %}{{ x }}{% endif %}", "{% if false %}{{ x }}{% endif %}", "{% if true or x %}{% endif %}",
		"{% if true %}{% elsif x %}{% endif %}", "{% unless x %}{% endunless %}", "{% case x %}{% endcase %}", "{% case 1 %}{% when x %}{% endcase %}",
		"{% case 1 %}{% when 1 %}{{ x }}{% endcase %}", "{% for a in x %}{% endfor %}", "{% for a in event.tags limit: x %}{% endfor %}",
		"{% for a in event.tags %}{{ x }}{% endfor %}", "{% for a in event.tags %}{% else %}{{ a }}{% endfor %}", "{% for a in event.tags %}{% endfor %}{{ a }}",
		"{{ forloop.index }}", "{% for a in event.tags %}{{ forloop.x }}{% endfor %}", "{% for event in event.tags %}{% endfor %}", "{% assign now = 1 %}",
		"{{ x }}{% assign x = 1 %}", "{% assign x = y %}", "{% assign x = %}", "{% assign 1 = 2 %}", "{% capture x %}{{ x }}{% endcapture %}", "{% capture a b %}{% endcapture %}",
		"{% break %}", "{% continue %}", "{% if true %}{% break %}{% endif %}", "{% else %}", "{% if true %}{% else x %}{% endif %}", "{% if true %}{% else %}{% else %}{% endif %}",
		"{% comment %}", "{% raw %}", "{% raw %}{{ x }}", "{% x %}", "{% cycle 'a', 'b' %}", "{% tablerow a in event.tags %}{% endtablerow %}", "{% increment x %}",
		"{% include '/etc/passwd' %}", "{% include event.title %}", "{% if false %}{% include 'x' %}{% endif %}", "{% render 'x' %}", "{% layout 'x' %}",
		"{% for i in (1..1000000000) %}{% endfor %}", "{{ (1..1000000000) | reverse }}", "{% assign n = 9 %}{{ (1..n) }}", "{{ (1..event.capacity) }}", "{{ (-9223372036854775808..9223372036854775807) }}",
		"{{ (1.5..2) }}", "{{ 99999999999999999999 }}", "{{ event.title ; }}", "{{ %assign x = 1 }}", "{{ %loop a in b }}", "{{ 'a }}", `{{ "a' }}`, "{{ event.title event.id }}", "{{ | upcase }}",
		"{{ event.title | }}", "{{ event.title | upcase: 1 }}", "{{ event.title | slice: 1, 2, 3 }}", "{{ event.title | json }}", "{{ event | inspect }}", "{{ event.tags | map: 'x' }}",
		"{{ 'x' | plus: 1 }}", "{{ 1 | divided_by: 0 }}", "{{ 'x' | date }}", "{{ now | date: '%1000000000d' }}", "{{ '%41' | url_decode }}", "{{ event.title | first }}",
		"{{ " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000) + " }}",
		strings.Repeat("{% if true %}", 1000) + strings.Repeat("{% endif %}", 1000),
		`{% assign s = "aaaaaaaaaa" %}` + strings.Repeat("{% assign s = s | append: s %}", 600),
		`{% assign s = "aaaaaaaaaa" %}` + strings.Repeat("{% capture s %}{{ s }}{{ s }}{% endcapture %}", 400),
		`{% assign s = event.tags %}` + strings.Repeat("{% assign s = s | concat: s %}", 600),
		strings.Repeat("{% for i in (1..1000) %}", 9) + strings.Repeat("{% endfor %}", 9),
		`{% for i in (1..1000) %}{% for j in (1..1000) %}{{ "a" }}{% endfor %}{% endfor %}`,
		`{% for i in (1..100) %}{{ "` + strings.Repeat("a", 2000) + `" }}{% endfor %}`,
		`{% assign s = "aaaaaaaaaaaaaaaaaaaa" %}` + strings.Repeat(`{% assign s = s | replace: "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" %}`, 9),
	} {
		began := time.Now()
		code, _ := aggregates.CheckTemplate(aggregates.ReminderTemplate, source)
		require.Equal(t, "invalid_template", code, "%.200s", source)
		require.Less(t, time.Since(began), time.Minute, "%.200s", source)
		_, err := aggregates.RenderTemplate(source, b)
		require.Equal(t, strings.Contains(source, "announcement.id"), err == nil, "%.200s", source)
	}
	for kind, sources := range map[aggregates.TemplateKind][2]string{
		aggregates.ReminderTemplate:     {"{{ reminder.minutes_before }}", "{{ announcement.id }}"},
		aggregates.AnnouncementTemplate: {"{{ announcement.id }}", "{{ reminder.minutes_before }}"},
	} {
		code, _ := aggregates.CheckTemplate(kind, sources[0])
		require.Empty(t, code)
		code, _ = aggregates.CheckTemplate(kind, sources[1])
		require.Equal(t, "invalid_template", code)
	}
	for _, source := range []string{"", " ", "\n\t\u00a0\u3000"} {
		code, _ := aggregates.CheckTemplate(aggregates.ReminderTemplate, source)
		require.Equal(t, "required", code)
	}
}

// What stands in a value is never a template, and never in an error.
func TestValuesAreNoTemplates(t *testing.T) {
	for _, evil := range []string{"{{ participant.name }}", "{% include '/etc/passwd' %}", "{{", "%}", "{% raw %}", "\x00", "-}}"} {
		b := bindings(func(e *aggregates.Event, p *aggregates.Participant) {
			e.Title, e.Tags, p.Contact.Name = evil, []string{evil}, evil
		})
		got, err := aggregates.RenderTemplate("{{ event.title }}{{ event.tags[0] }}{% assign x = participant.name %}{% capture y %}{{ x }}{% endcapture %}{{ y }}", b)
		require.NoError(t, err)
		require.Equal(t, evil+evil+evil, got)
	}
	b := bindings(func(_ *aggregates.Event, p *aggregates.Participant) { p.Contact.Name = "secret" })
	_, err := aggregates.RenderTemplate("{{ participant.name | plus: 1 }}", b)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")

	long := bindings(func(e *aggregates.Event, _ *aggregates.Participant) { e.Description = strings.Repeat("x", 100_001) })
	_, err = aggregates.RenderTemplate("{{ event.description }}", long)
	require.Error(t, err)
	long = bindings(func(e *aggregates.Event, _ *aggregates.Participant) { e.Description = strings.Repeat("x", 100_000) })
	_, err = aggregates.RenderTemplate("{{ event.description }}", long)
	require.NoError(t, err)
}

// The worst that the limits leave room for is still over soon.
func TestTemplatesEnd(t *testing.T) {
	b := bindings(func(e *aggregates.Event, _ *aggregates.Participant) {
		e.Description, e.Tags = strings.Repeat("aaaaaaaaa ", 10_000), slices.Repeat([]string{"a"}, 100)
	})
	needle := strings.Repeat("a", 100) + "b"
	for _, source := range []string{
		`{% for i in (1..1000) %}{% if event.description contains "` + needle + `" %}{% endif %}{% endfor %}`,
		`{% assign n = "` + needle + `" %}{% for i in (1..1000) %}{% if event.description contains n %}{% endif %}{% endfor %}`,
		`{% for i in (1..1000) %}{{ event.description | upcase | size }}{% endfor %}`,
		`{% assign w = event.description | truncate: 1900 | split: "a" %}{% for i in (1..1000) %}{% if w == w %}{% endif %}{% endfor %}`,
		`{% for a in event.tags %}{% for b in event.tags %}{% for c in event.tags %}{% endfor %}{% endfor %}{% endfor %}`,
		`{% assign w = event.description | split: "a" %}`,
		`{% for i in (1..1000) %}{% capture x %}{{ event.description }}{% endcapture %}{% endfor %}`,
		`{{ event.description | append: event.description | append: event.description | append: event.description | append: event.description | append: event.description }}`,
	} {
		began := time.Now()
		_, _ = aggregates.RenderTemplate(source, b)
		require.Less(t, time.Since(began), time.Minute, source)
	}
}

func TestPatch(t *testing.T) {
	var p aggregates.EventPatch
	require.NoError(t, json.Unmarshal([]byte(`{"title": "x", "capacity": null, "tags": []}`), &p))
	require.Equal(t, aggregates.EventPatch{Title: value("x"), Capacity: null[int](), Tags: value([]string{})}, p)
	require.Error(t, json.Unmarshal([]byte(`{"capacity": "x"}`), &p))
}

func TestStartsIn(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "now", 29 * time.Second: "now", -29 * time.Second: "now", 30 * time.Second: "in 1 minute", -time.Minute: "1 minute ago",
		15*time.Minute - 20*time.Millisecond: "in 15 minutes", -5 * time.Minute: "5 minutes ago", 59*time.Minute + 29*time.Second: "in 59 minutes",
		time.Hour: "in 1 hour", 90 * time.Minute: "in 1 hour 30 minutes", 24*time.Hour - time.Minute: "in 23 hours 59 minutes", 24 * time.Hour: "in 1 day",
		25 * time.Hour: "in 1 day 1 hour", 48 * time.Hour: "in 2 days", 7*24*time.Hour + 5*time.Hour: "in 7 days", 365 * 24 * time.Hour: "in 365 days",
	} {
		got, err := aggregates.RenderTemplate("{{ event.starts_in }}", bindings(func(e *aggregates.Event, _ *aggregates.Participant) { e.StartTime = noon.Add(d) }))
		require.NoError(t, err)
		require.Equal(t, want, got, d.String())
	}
}

func TestRenderTemplateAtOnce(t *testing.T) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			b := bindings(func(*aggregates.Event, *aggregates.Participant) {})
			for range 100 {
				got, err := aggregates.RenderTemplate("{% for t in event.tags %}{{ t }}{% endfor %}", b)
				if err != nil || got != "ba" {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	all.Wait()
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{aggregates.DefaultReminderMessage, "{% for a in event.tags %}{{ a | upcase }}{% endfor %}", "{{ (1..9) | join: 'x' }}", "{% case 1 %}{% when 1 %}{% endcase %}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		b := bindings(func(e *aggregates.Event, _ *aggregates.Participant) { e.Tags = nil })
		code, _ := aggregates.CheckTemplate(aggregates.AnnouncementTemplate, source)
		text, err := aggregates.RenderTemplate(source, b)
		if code == "" && err == nil && len(text) > 100_000 {
			t.Fatal("too long")
		}
	})
}

func BenchmarkRenderTemplate(b *testing.B) {
	values := bindings(func(*aggregates.Event, *aggregates.Participant) {})
	for b.Loop() {
		if _, err := aggregates.RenderTemplate(aggregates.DefaultReminderMessage, values); err != nil {
			b.Fatal(err)
		}
	}
}
