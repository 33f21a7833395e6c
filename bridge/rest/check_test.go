package rest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// check holds an answer, and the request if it was accepted, against the document.
func (s *server) check(req *http.Request, body string, a answer) {
	s.t.Helper()
	if got, want := a.header.Get("Content-Type"), contentType(a); got != want {
		s.t.Errorf("%s %s: Content-Type %q, want %q", req.Method, req.URL.Path, got, want)
	}
	route, params, err := s.router.FindRoute(req)
	if err != nil || !sameRoute(route.Path, req.URL.EscapedPath()) { // no such route: the answer is an error all the same
		s.checkSchema("Error", a.body)
		return
	}
	input := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	req.Body = io.NopCloser(strings.NewReader(body))
	if a.status < http.StatusBadRequest {
		if err := openapi3filter.ValidateRequest(s.t.Context(), input); err != nil {
			s.t.Errorf("an accepted request is not what openapi.json describes: %v", err)
		}
	}
	if a.header.Get("Content-Type") == eventStream {
		s.checkEvents(route, a)
		return
	}
	if err := openapi3filter.ValidateResponse(s.t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: a.status, Header: a.header,
		Body: io.NopCloser(bytes.NewReader(a.body)), Options: input.Options,
	}); err != nil {
		s.t.Errorf("%s %s: the answer %s is not what openapi.json describes: %v", req.Method, req.URL.Path, a.body, err)
	}
	if a.status >= http.StatusBadRequest {
		s.checkCode(route, a)
	}
}

// contentType returns which type an answer must have.
func contentType(a answer) string {
	switch {
	case a.status == http.StatusNoContent:
		return ""
	case bytes.HasPrefix(a.body, []byte("{")), bytes.HasPrefix(a.body, []byte("[")), a.header.Get("Content-Type") != eventStream:
		return "application/json"
	}
	return eventStream
}

// sameRoute tells whether a path is one of a route of the document, segment by
// segment: the router is more generous.
func sameRoute(route, path string) bool {
	pattern := regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(route), "[^/]+")
	return regexp.MustCompile("^" + pattern + "$").MatchString(path)
}

// checkCode holds the code of a refusal against the description of its status.
func (s *server) checkCode(route *routers.Route, a answer) {
	s.t.Helper()
	code := a.problem(s.t).Error
	resp := route.Operation.Responses.Status(a.status)
	if resp != nil && !containsWord(*resp.Value.Description, code) {
		s.t.Errorf("%s %s: %d %s is not documented: %q", route.Method, route.Path, a.status, code, *resp.Value.Description)
	}
}

// checkSchema holds JSON against a schema of the document.
func (s *server) checkSchema(name string, data []byte) {
	s.t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		s.t.Fatalf("%q: %v", data, err)
	}
	if err := s.doc.Components.Schemas[name].Value.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
		s.t.Errorf("%s is no %s: %v", data, name, err)
	}
}

// checkEvents holds the events of an answer that has ended against the document.
func (s *server) checkEvents(route *routers.Route, a answer) {
	s.t.Helper()
	resp := route.Operation.Responses.Status(a.status)
	if resp == nil || resp.Value.Content.Get(eventStream) == nil {
		s.t.Errorf("%s %s: events are not documented", route.Method, route.Path)
		return
	}
	for _, e := range readEvents(s.t, bufio.NewReader(bytes.NewReader(a.body))) {
		s.checkEvent(route.Path, e)
	}
}

// checkEvent holds one event against the document.
func (s *server) checkEvent(path string, e event) {
	s.t.Helper()
	switch {
	case e.data == "": // a comment
	case e.name == "progress":
		s.checkSchema("Transfer", []byte(e.data))
	case e.name == "error":
		s.checkSchema("Error", []byte(e.data))
	case e.name == "result":
		one := map[string]string{"/resources/fetch": "File", "/resources/send": "Delivered"}[path]
		var list []json.RawMessage
		if err := json.Unmarshal([]byte(e.data), &list); err != nil || one == "" {
			s.t.Errorf("result %s of %s: %v", e.data, path, err)
		}
		for _, v := range list {
			s.checkSchema(one, v)
		}
	default:
		s.checkSchema("Received", []byte(e.data))
		if e.id == "" {
			s.t.Errorf("an item without id: %+v", e)
		}
	}
}
