package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/gorilla/mux"
)

// router finds routes with gorilla/mux, by path alone: mux answers a wrong
// method without Allow and refuses HEAD, so methods are looked up here.
type router struct {
	mux   *mux.Router
	paths map[string]map[string]*route // by path template, then method
}

func newRouter(routes []route) *router {
	r := &router{
		// A path that isn't in canonical form is no path: mux would redirect it,
		// and clients would repeat a POST as a GET.
		mux:   mux.NewRouter().SkipClean(true),
		paths: map[string]map[string]*route{},
	}
	var templates []string
	for _, one := range routes {
		if r.paths[one.path] == nil {
			r.paths[one.path] = map[string]*route{}
			templates = append(templates, one.path)
		}
		r.paths[one.path][one.method] = &one
	}
	// Literal paths come first, as mux takes the first that matches.
	slices.SortStableFunc(templates, func(a, b string) int {
		return strings.Count(a, "{") - strings.Count(b, "{")
	})
	for _, template := range templates {
		r.mux.Path(template).Name(template)
	}
	return r
}

// found is where a request goes.
type found struct {
	template string // of the path; empty: there is no such path
	route    *route // nil: not with this method
	allow    string // the methods of the path, for Allow
	open     bool   // needs no token
	vars     map[string]string
}

func (r *router) find(req *http.Request) found {
	if req.URL.Path == "/docs/" { // which people type, and where Swagger UI has its files
		aliased := *req
		aliased.URL = &url.URL{Path: "/docs"}
		req = &aliased
	}
	var match mux.RouteMatch
	if !r.mux.Match(req, &match) {
		return found{}
	}
	template := match.Route.GetName()
	methods := r.paths[template]
	f := found{template: template, vars: match.Vars}
	method := req.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if f.route = methods[method]; f.route == nil {
		f.allow, f.open = allowed(methods), allOpen(methods)
	} else {
		f.open = f.route.open
	}
	return f
}

// allOpen tells whether a path is open, so that it tells strangers its methods.
func allOpen(methods map[string]*route) bool {
	for _, r := range methods {
		if !r.open {
			return false
		}
	}
	return true
}

func allowed(methods map[string]*route) string {
	var names []string
	for name := range methods {
		names = append(names, name)
		if name == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// canonicalID gives a UUID in the one form that ids are made in; ok is false
// when s is none, so that nothing has it as its id.
func canonicalID(s string) (id string, ok bool) {
	if len(s) != 36 {
		return "", false
	}
	parsed, err := uuid.Parse(s)
	if err != nil {
		return "", false
	}
	return parsed.String(), true
}
