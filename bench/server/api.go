package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const bookmarkEvery = time.Minute

// call is one request, and what its path says.
type call struct {
	target
	verb    string
	query   url.Values
	partial bool
	stored  *object // what a write came to
	request *http.Request
	answer  http.ResponseWriter
}

type api struct {
	store *store
	churn *churn
}

func newAPI(store *store, churn *churn) *api { return &api{store, churn} }

// serve answers one request; what it says of the target goes into the record.
func (a *api) serve(answer http.ResponseWriter, request *http.Request) *call {
	c := &call{request: request, answer: answer, query: request.URL.Query(), verb: strings.ToLower(request.Method)}
	c.partial = strings.Contains(request.Header.Get("Accept"), "as=PartialObjectMetadata")
	if err := a.dispatch(c); err != nil {
		var refused *refusal
		if !errors.As(err, &refused) {
			refused = &refusal{http.StatusBadRequest, "BadRequest", err.Error(), nil}
		}
		reply(answer, refused.code, refused.status())
	}
	return c
}

func (a *api) dispatch(c *call) error {
	where := c.request.URL.Path
	switch {
	case where == "/recording/world":
		return a.makeWorld(c)
	case where == "/recording/churn":
		return a.setChurn(c)
	case where == "/recording/figures":
		reply(c.answer, http.StatusOK, a.churn.figures())
		return nil
	case where == "/livez", where == "/readyz", where == "/healthz":
		_, err := io.WriteString(c.answer, "ok")
		return err
	case where == "/version":
		reply(c.answer, http.StatusOK, document{"major": "1", "minor": "37", "gitVersion": "v1.37.0+recording"})
		return nil
	}
	steps := strings.Split(strings.Trim(where, "/"), "/")
	if len(steps) < 3 || steps[0] == "apis" && len(steps) < 4 {
		return a.discover(c, steps)
	}
	if err := a.locate(c, steps); err != nil {
		return err
	}
	return a.carryOut(c)
}

// locate finds the resource of a path, and the verb as the API server calls it.
func (a *api) locate(c *call, steps []string) error {
	group := ""
	if steps[0] == "apis" {
		group, steps = steps[1], steps[1:]
	}
	version, rest := steps[1], steps[2:]
	if len(rest) >= 3 && rest[0] == "namespaces" {
		c.namespace, rest = rest[1], rest[2:]
	}
	a.store.lock.RLock()
	c.kind = a.store.kinds[group+"/"+version+"/"+rest[0]]
	a.store.lock.RUnlock()
	if c.kind == nil || len(rest) > 3 {
		return noSuchResource()
	}
	if len(rest) > 1 {
		c.name = rest[1]
	}
	if len(rest) > 2 {
		c.subresource = rest[2]
	}
	if c.subresource != "" && c.subresource != "status" {
		return notModelled("the subresource " + c.subresource)
	}
	c.manager = c.query.Get("fieldManager")
	if c.manager == "" {
		c.manager, _, _ = strings.Cut(c.request.UserAgent(), "/")
	}
	c.force = c.query.Get("force") == "true"
	c.verb = map[string]string{
		http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
		http.MethodGet: "get",
	}[c.request.Method]
	if c.verb == "get" && c.name == "" {
		c.verb = "list"
		if watch := c.query.Get("watch"); watch == "true" || watch == "1" {
			c.verb = "watch"
		}
	}
	return nil
}

func (a *api) carryOut(c *call) error {
	label := c.query.Get("labelSelector")
	if label != "" && (c.verb != "list" || strings.ContainsAny(label, "=!,( ")) || c.query.Get("fieldSelector") != "" {
		return notModelled("selectors, but that of a list by the presence of one label")
	}
	switch c.verb {
	case "list":
		return a.list(c)
	case "watch":
		return a.watch(c)
	case "get":
		a.store.lock.RLock()
		found, err := c.kind.find(c.namespace, c.name)
		a.store.lock.RUnlock()
		if err == nil {
			c.reply(http.StatusOK, found)
		}
		return err
	}
	return a.write(c)
}

func (a *api) write(c *call) error {
	content, err := io.ReadAll(c.request.Body)
	if err != nil {
		return err
	}
	body := document{}
	if len(content) > 0 {
		if body, err = decode(content); err != nil {
			return badRequest("the body is not JSON: " + err.Error())
		}
	}
	code, err := a.change(c, body)
	if err != nil {
		return err
	}
	c.name = c.stored.name
	if c.verb == "delete" {
		reply(c.answer, code, document{"kind": "Status", "apiVersion": "v1", "metadata": document{}, "status": "Success"})
		return nil
	}
	c.reply(code, c.stored)
	return nil
}

// change carries a write out, and says with which code that is answered.
func (a *api) change(c *call, body document) (code int, err error) {
	a.store.lock.Lock()
	defer a.store.lock.Unlock()
	switch c.verb {
	case "create":
		if c.kind.plural == "customresourcedefinitions" {
			if err := a.store.define(clone(body).(document)); err != nil {
				return 0, err
			}
		}
		c.stored, err = a.store.create(c.target, body)
		return http.StatusCreated, err
	case "update":
		c.stored, err = a.store.replace(c.target, body)
	case "patch":
		return a.patch(c, body)
	case "delete":
		preconditions, _ := body["preconditions"].(document)
		c.stored, err = a.store.delete(c.target, preconditions)
	default:
		err = notModelled(c.request.Method)
	}
	return http.StatusOK, err
}

func (a *api) patch(c *call, body document) (code int, err error) {
	switch kind, _, _ := strings.Cut(c.request.Header.Get("Content-Type"), ";"); kind {
	case "application/apply-patch+yaml":
		created := false
		c.stored, created, err = a.store.apply(c.target, body)
		if created {
			return http.StatusCreated, err
		}
	case "application/merge-patch+json":
		c.stored, err = a.store.patch(c.target, body)
	case "application/strategic-merge-patch+json":
		if hasLists(body) {
			return 0, notModelled("strategic merge patches of lists")
		}
		c.stored, err = a.store.patch(c.target, body)
	default:
		err = notModelled("patches of type " + kind)
	}
	return http.StatusOK, err
}

func hasLists(value any) bool {
	inner, isDocument := value.(document)
	for _, each := range inner {
		if hasLists(each) {
			return true
		}
	}
	_, isList := value.([]any)
	return isList && !isDocument
}

func (a *api) list(c *call) error {
	limit, _ := strconv.Atoi(c.query.Get("limit"))
	page, version, next, err := a.store.page(c.kind, c.namespace, c.query.Get("labelSelector"), c.query.Get("continue"), limit)
	if err != nil {
		return err
	}
	var body bytes.Buffer
	prefix, item := fmt.Sprintf(`{"kind":"%sList","apiVersion":%q`, c.kind.name, c.kind.apiVersion()), "{"
	if c.partial {
		prefix = `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1"`
	} else if c.kind.custom != nil {
		item = c.kind.prefix() // the items of other lists come without
	}
	fmt.Fprintf(&body, `%s,"metadata":{"resourceVersion":"%d"`, prefix, version)
	if next != "" {
		fmt.Fprintf(&body, `,"continue":%q`, next)
	}
	body.WriteString(`},"items":[`)
	for index, each := range page {
		if index > 0 {
			body.WriteByte(',')
		}
		each.write(&body, item, c.partial)
	}
	body.WriteString("]}\n")
	c.answer.Header().Set("Content-Type", "application/json")
	_, err = c.answer.Write(body.Bytes())
	return err
}

// watch tells what happens from a version on, until it has lasted as long as was asked for.
func (a *api) watch(c *call) error {
	seconds, _ := strconv.Atoi(c.query.Get("timeoutSeconds"))
	if seconds <= 0 {
		seconds = 1800
	}
	from, bookmarks := c.query.Get("resourceVersion"), c.query.Get("allowWatchBookmarks") == "true"
	asked := c.query.Get("sendInitialEvents") == "true"
	initial := asked || from == "" || from == "0"
	version, _ := strconv.ParseUint(from, 10, 64)
	var present []*object
	if initial {
		present, version = a.store.all(c.kind, c.namespace)
	}
	if _, _, _, err := a.store.since(c.kind, version); err != nil {
		return err
	}
	c.answer.Header().Set("Content-Type", "application/json")
	stream := &stream{call: c, prefix: c.kind.prefix()}
	for _, each := range present {
		stream.tell(event{"ADDED", each})
	}
	if asked && bookmarks {
		stream.bookmark(version, `,"annotations":{"k8s.io/initial-events-end":"true"}`)
	}
	end, ticker := time.NewTimer(time.Duration(seconds)*time.Second), time.NewTicker(bookmarkEvery)
	defer end.Stop()
	defer ticker.Stop()
	for {
		events, upTo, changed, err := a.store.since(c.kind, version)
		if err != nil {
			stream.fail(err)
			return stream.flush()
		}
		for _, each := range events {
			if c.namespace == "" || c.namespace == each.object.namespace {
				stream.tell(each)
			}
		}
		version = upTo
		if err := stream.flush(); err != nil {
			return nil // whoever watched is gone
		}
		select {
		case <-changed:
		case <-ticker.C:
			if bookmarks {
				stream.bookmark(version, "")
			}
		case <-end.C:
			if bookmarks {
				stream.bookmark(version, "")
			}
			_ = stream.flush()
			return nil
		case <-c.request.Context().Done():
			return nil
		}
	}
}

// stream is the answer to a watch.
type stream struct {
	*call
	prefix string
	buffer bytes.Buffer
}

func (s *stream) tell(e event) {
	fmt.Fprintf(&s.buffer, `{"type":%q,"object":`, e.kind)
	e.object.write(&s.buffer, s.prefix, s.partial)
	s.buffer.WriteString("}\n")
}

func (s *stream) bookmark(version uint64, more string) {
	prefix := s.prefix
	if s.partial {
		prefix = `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1",`
	}
	fmt.Fprintf(&s.buffer, `{"type":"BOOKMARK","object":%s"metadata":{"resourceVersion":"%d"%s}}}`+"\n", prefix, version, more)
}

func (s *stream) fail(err error) {
	var refused *refusal
	if errors.As(err, &refused) {
		fmt.Fprintf(&s.buffer, `{"type":"ERROR","object":%s}`+"\n", encode(refused.status()))
	}
}

func (s *stream) flush() error {
	if _, err := s.buffer.WriteTo(s.answer); err != nil {
		return err
	}
	return http.NewResponseController(s.answer).Flush()
}

func (c *call) reply(code int, stored *object) {
	var body bytes.Buffer
	stored.write(&body, c.kind.prefix(), c.partial)
	c.answer.Header().Set("Content-Type", "application/json")
	c.answer.WriteHeader(code)
	_, _ = c.answer.Write(body.Bytes())
}

func reply(answer http.ResponseWriter, code int, body any) {
	answer.Header().Set("Content-Type", "application/json")
	answer.WriteHeader(code)
	_, _ = answer.Write(encode(body))
}

// discover answers /api, /apis, and what there is in one version of a group.
func (a *api) discover(c *call, steps []string) error {
	a.store.lock.RLock()
	defer a.store.lock.RUnlock()
	if len(steps) == 1 && steps[0] == "api" {
		reply(c.answer, http.StatusOK, document{"kind": "APIVersions", "versions": []string{"v1"}})
		return nil
	}
	if len(steps) == 1 && steps[0] == "apis" {
		groups := map[string]document{}
		for _, k := range a.store.kinds {
			if k.group != "" {
				version := document{"groupVersion": k.apiVersion(), "version": k.version}
				groups[k.group] = document{
					"name": k.group, "versions": []any{version}, "preferredVersion": version,
				}
			}
		}
		list := []any{}
		for _, group := range groups {
			list = append(list, group)
		}
		reply(c.answer, http.StatusOK, document{"kind": "APIGroupList", "apiVersion": "v1", "groups": list})
		return nil
	}
	of := strings.Join(steps[1:], "/")
	resources := []any{}
	for _, k := range a.store.kinds {
		if k.apiVersion() != of {
			continue
		}
		verbs := []string{"create", "delete", "get", "list", "patch", "update", "watch"}
		found := document{
			"name": k.plural, "singularName": strings.ToLower(k.name), "kind": k.name, "namespaced": k.namespaced,
			"verbs": verbs,
		}
		resources = append(resources, found)
		if k.status {
			resources = append(resources, document{
				"name": k.plural + "/status", "singularName": "", "kind": k.name, "namespaced": k.namespaced,
				"verbs": []string{"get", "patch", "update"},
			})
		}
	}
	if len(resources) == 0 {
		return noSuchResource()
	}
	reply(c.answer, http.StatusOK, document{
		"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": of, "resources": resources,
	})
	return nil
}

func (a *api) makeWorld(c *call) error {
	var wanted world
	if err := json.NewDecoder(c.request.Body).Decode(&wanted); err != nil {
		return err
	}
	a.churn.stop()
	made, err := a.store.remake(wanted)
	if err != nil {
		return err
	}
	a.churn.inhabit(made)
	reply(c.answer, http.StatusOK, document{})
	return nil
}

func (a *api) setChurn(c *call) error {
	var wanted rates
	if err := json.NewDecoder(c.request.Body).Decode(&wanted); err != nil {
		return err
	}
	if err := a.churn.set(wanted); err != nil {
		return err
	}
	reply(c.answer, http.StatusOK, document{})
	return nil
}
