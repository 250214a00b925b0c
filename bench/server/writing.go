package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"
)

// target is what a write is about, and who sends it.
type target struct {
	kind                         *kind
	namespace, name, subresource string
	manager                      string
	force                        bool
}

func (t target) isStatus() bool { return t.subresource == "status" }

// change is a write under way: the object as it was, and as it is to be.
type change struct {
	target
	old       *object
	body      document
	spec      []byte // as it was
	held      ownership
	rewritten bool // counts as a change of spec, although nothing changes
}

func begin(t target, old *object) *change {
	c := &change{target: t, old: old, held: ownership{}}
	if old == nil {
		c.body = document{"metadata": document{"name": t.name}}
		if t.kind.namespaced {
			c.body["metadata"].(document)["namespace"] = t.namespace
		}
		return c
	}
	c.body = old.document()
	c.spec = encode(c.body["spec"])
	c.held = ownershipOf(c.body)
	return c
}

// create stores a new object. The caller holds the lock; so he does for all writes below.
func (s *store) create(t target, body document) (*object, error) {
	metadata := within(body, "metadata")
	t.name = text(metadata, "name")
	if t.name == "" {
		s.names++
		t.name = fmt.Sprintf("%s%06x", text(metadata, "generateName"), s.names)
	}
	if t.kind.objects[t.namespace+"/"+t.name] != nil {
		return nil, exists(t.kind, t.name)
	}
	if t.kind.status {
		delete(body, "status")
	}
	c := begin(t, nil)
	s.update(c, body)
	return s.commit(c, owner{t.manager, "Update", ""}), nil
}

// replace is PUT.
func (s *store) replace(t target, body document) (*object, error) {
	old, err := t.kind.find(t.namespace, t.name)
	if err != nil {
		return nil, err
	}
	if err := guard(t, old, within(body, "metadata")); err != nil {
		return nil, err
	}
	c := begin(t, old)
	s.update(c, body)
	return s.commit(c, owner{t.manager, "Update", t.subresource}), nil
}

// patch is a JSON merge patch.
func (s *store) patch(t target, patch document) (*object, error) {
	old, err := t.kind.find(t.namespace, t.name)
	if err != nil {
		return nil, err
	}
	if err := guard(t, old, within(patch, "metadata")); err != nil {
		return nil, err
	}
	c := begin(t, old)
	s.update(c, mergePatch(old.document(), patch).(document))
	return s.commit(c, owner{t.manager, "Update", t.subresource}), nil
}

// update makes of a change what a body says: whatever differs is the writer's from now on, unless it is empty.
func (s *store) update(c *change, wanted document) {
	before := leaves(c.body)
	system := c.body["metadata"].(document)
	status, hasStatus := c.body["status"]
	if c.isStatus() {
		c.body["status"] = wanted["status"]
	} else {
		metadata := within(wanted, "metadata")
		for field := range serverSet {
			delete(metadata, field)
			if value, has := system[field]; has {
				metadata[field] = value
			}
		}
		if c.kind.status && c.old != nil {
			delete(wanted, "status")
			if hasStatus {
				wanted["status"] = status
			}
		}
		delete(wanted, "apiVersion")
		delete(wanted, "kind")
		c.body = wanted
	}
	s.settle(c.kind, c.body)
	after := leaves(c.body)
	who := owner{c.manager, "Update", c.subresource}
	mine, changed := map[path]bool{}, map[path]bool{}
	if held := c.held[who]; held != nil {
		mine = held.paths
	}
	for at, value := range after {
		if was, had := before[at]; !had || !reflect.DeepEqual(was, value) {
			changed[at] = true
			if !isEmpty(value) {
				mine[at] = true
			}
		}
	}
	for at := range before {
		if _, has := after[at]; !has {
			changed[at] = true
			delete(mine, at)
		}
	}
	c.held.take(who, mine, changed)
}

// apply is server-side apply: takes what it sets, lets go of what it set before and sets no more.
func (s *store) apply(t target, body document) (applied *object, created bool, err error) {
	old := t.kind.objects[t.namespace+"/"+t.name]
	metadata := within(body, "metadata")
	if old == nil {
		if uid := text(metadata, "uid"); uid != "" {
			why := fmt.Sprintf("uid mismatch: the provided object specified uid %s, and no existing object was found", uid)
			return nil, false, conflict(t.kind, t.name, why)
		}
		if t.isStatus() {
			return nil, false, notFound(t.kind, t.name)
		}
	} else if err := guard(t, old, metadata); err != nil {
		return nil, false, err
	}
	wanted := leaves(body)
	for at := range wanted {
		if (t.isStatus() || t.kind.status) && t.isStatus() != (at.steps()[0] == "status") {
			delete(wanted, at)
		}
	}
	c := begin(t, old)
	who := owner{t.manager, "Apply", t.subresource}
	current := leaves(c.body)
	contest, mine := map[path]bool{}, map[path]bool{}
	holders := map[path][]owner{}
	for at, value := range wanted {
		mine[at] = true
		if have, has := current[at]; has && !reflect.DeepEqual(have, value) {
			if others := c.held.others(at, who); len(others) > 0 {
				contest[at] = true
				holders[at] = others
			}
		}
		c.rewritten = c.rewritten || t.kind.plural == "networkpolicies" && at.steps()[0] == "spec" && isEmptyList(value)
	}
	if len(holders) > 0 && !t.force {
		return nil, false, contested(holders)
	}
	if held := c.held[who]; held != nil {
		for at := range held.paths {
			if _, still := wanted[at]; !still && len(c.held.others(at, who)) == 0 {
				remove(c.body, at)
			}
		}
	}
	for at, value := range wanted {
		set(c.body, at, value)
	}
	s.settle(t.kind, c.body)
	c.held.take(who, mine, contest)
	return s.commit(c, who), old == nil, nil
}

// delete answers with the object as it was when it went.
func (s *store) delete(t target, preconditions document) (*object, error) {
	old, err := t.kind.find(t.namespace, t.name)
	if err != nil {
		return nil, err
	}
	for field, have := range map[string]string{"uid": old.uid, "resourceVersion": strconv.FormatUint(old.version, 10)} {
		if wanted := text(preconditions, field); wanted != "" && wanted != have {
			why := fmt.Sprintf("the %s in the precondition (%s) does not match the one in record (%s)", field, wanted, have)
			return nil, conflict(t.kind, t.name, why)
		}
	}
	body := old.document()
	if finalizers, _ := body["metadata"].(document)["finalizers"].([]any); len(finalizers) > 0 {
		return nil, notModelled("the deletion of an object that a finalizer holds")
	}
	gone := s.pack(old, body)
	s.drop(t.kind, gone)
	return gone, nil
}

// guard holds a write to the object, and the version of it, that it names.
func guard(t target, old *object, metadata document) error {
	if version := text(metadata, "resourceVersion"); version != "" && version != strconv.FormatUint(old.version, 10) {
		return modified(t.kind, t.name)
	}
	if uid := text(metadata, "uid"); uid != "" && uid != old.uid && !t.isStatus() {
		return otherUID(t.kind, t.name, uid)
	}
	return nil
}

// commit stores a change, under a new version; where nothing changes, the old one stays.
func (s *store) commit(c *change, who owner) *object {
	metadata := c.body["metadata"].(document)
	setFields := func() {
		delete(metadata, "managedFields")
		if entries := c.held.entries(c.kind.apiVersion()); len(entries) > 0 {
			metadata["managedFields"] = entries
		}
	}
	setFields()
	if c.old != nil && !c.rewritten && bytes.Equal(join(encode(metadata), c.body), c.old.body) {
		return c.old
	}
	now := time.Now().UTC().Format(time.RFC3339)
	if held := c.held[who]; held != nil {
		held.time = now
		setFields()
	}
	old := c.old
	if old == nil {
		s.version++ // a uid is never given twice
		old = &object{
			namespace: c.namespace, name: c.name,
			uid: fmt.Sprintf("%08x-0000-4000-8000-%012x", time.Now().Unix(), s.version),
		}
		metadata["name"], metadata["uid"], metadata["creationTimestamp"] = old.name, old.uid, now
		if c.kind.namespaced {
			metadata["namespace"] = old.namespace
		}
	}
	if c.kind.custom != nil || c.kind.plural == "networkpolicies" {
		generation, _ := metadata["generation"].(float64)
		if c.old == nil || c.rewritten || !bytes.Equal(c.spec, encode(c.body["spec"])) {
			metadata["generation"] = generation + 1
		}
	}
	stored := s.pack(old, c.body)
	s.put(c.kind, stored)
	return stored
}

// pack makes the next version of an object.
func (s *store) pack(old *object, body document) *object {
	s.version++
	metadata := body["metadata"].(document)
	metadata["resourceVersion"] = strconv.FormatUint(s.version, 10)
	head := encode(metadata)
	next := *old
	next.version = s.version
	next.body = join(head, body)
	next.metadata = len(`{"metadata":`) + len(head)
	return &next
}

// join encodes a body, its metadata first.
func join(metadata []byte, body document) []byte {
	rest := make(document, len(body))
	for name, value := range body {
		if name != "metadata" {
			rest[name] = value
		}
	}
	var joined bytes.Buffer
	joined.WriteString(`{"metadata":`)
	joined.Write(metadata)
	if len(rest) == 0 {
		joined.WriteByte('}')
		return joined.Bytes()
	}
	joined.WriteByte(',')
	joined.Write(encode(rest)[1:])
	return joined.Bytes()
}

func isEmpty(value any) bool {
	inner, isDocument := value.(document)
	return isEmptyList(value) || isDocument && len(inner) == 0
}

func isEmptyList(value any) bool {
	inner, isList := value.([]any)
	return isList && len(inner) == 0
}

// define serves the resource of a CRD that was created, without storing what it validates.
func (s *store) define(body document) error {
	spec := within(body, "spec")
	names, versions := within(spec, "names"), spec["versions"].([]any)
	if len(versions) != 1 {
		return &refusal{http.StatusNotImplemented, "NotImplemented", "a CRD of several versions", nil}
	}
	version := versions[0].(document)
	_, status := within(version, "subresources")["status"]
	s.serve(&kind{
		group: text(spec, "group"), version: text(version, "name"), plural: text(names, "plural"),
		name: text(names, "kind"), namespaced: text(spec, "scope") == "Namespaced", status: status,
		custom: within(within(version, "schema"), "openAPIV3Schema"),
	})
	return nil
}

func jsonInto(content []byte, value any) error { return json.Unmarshal(content, value) }
