package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// document is an object in JSON, decoded.
type document = map[string]any

// path names one leaf of a document: its steps, joined by what no field's name contains.
type path string

const joint = "\x1f"

const owners path = "metadata" + joint + "ownerReferences"

// Mappings that are owned whole (x-kubernetes-map-type: atomic).
var whole = map[path]bool{
	"spec" + joint + "podSelector": true,
	"spec" + joint + "selector":    true,
}

// What names an object, or is the server's alone, in metadata: nobody owns it.
var serverSet = map[string]bool{
	"name": true, "namespace": true, "uid": true, "resourceVersion": true, "creationTimestamp": true,
	"generation": true, "managedFields": true,
}

func (p path) child(step string) path {
	if p == "" {
		return path(step)
	}
	return p + joint + path(step)
}

func (p path) steps() []string { return strings.Split(string(p), joint) }

// dotted is how conflicts name a field.
func (p path) dotted() string { return "." + strings.ReplaceAll(string(p), joint, ".") }

// leaves are all values of a document that can be owned, empty ones included.
func leaves(body document) map[path]any {
	found := map[path]any{}
	for name, value := range body {
		switch name {
		case "apiVersion", "kind":
		case "metadata":
			for field, inner := range value.(document) {
				if !serverSet[field] {
					collect(inner, path("metadata").child(field), found)
				}
			}
		default:
			collect(value, path(name), found)
		}
	}
	return found
}

func collect(value any, at path, found map[path]any) {
	switch inner := value.(type) {
	case nil:
	case document:
		if whole[at] {
			found[at] = value
			return
		}
		for name, value := range inner {
			collect(value, at.child(name), found)
		}
	case []any:
		if at != owners {
			found[at] = value
			return
		}
		for _, item := range inner {
			found[at.child(ownerStep(item))] = item
		}
	default:
		found[at] = value
	}
}

func ownerStep(item any) string {
	key, _ := json.Marshal(map[string]any{"uid": item.(document)["uid"]})
	return "k:" + string(key)
}

// set puts a leaf in its place.
func set(body document, at path, value any) {
	steps := at.steps()
	last := len(steps) - 1
	for index, step := range steps[:last] {
		if strings.HasPrefix(steps[index+1], "k:") {
			list, _ := body[step].([]any)
			body[step] = append(without(list, steps[last]), value)
			return
		}
		inner, isDocument := body[step].(document)
		if !isDocument {
			inner = document{}
			body[step] = inner
		}
		body = inner
	}
	body[steps[last]] = value
}

// remove takes a leaf away, and what holds nothing without it.
func remove(body document, at path) { removeSteps(body, at.steps()) }

func removeSteps(body document, steps []string) {
	if len(steps) == 1 {
		delete(body, steps[0])
		return
	}
	switch inner := body[steps[0]].(type) {
	case document:
		removeSteps(inner, steps[1:])
		if len(inner) == 0 {
			delete(body, steps[0])
		}
	case []any:
		if kept := without(inner, steps[1]); len(kept) > 0 {
			body[steps[0]] = kept
		} else {
			delete(body, steps[0])
		}
	}
}

func without(list []any, step string) []any {
	return slices.DeleteFunc(slices.Clone(list), func(item any) bool { return ownerStep(item) == step })
}

// mergePatch is RFC 7396.
func mergePatch(target any, patch any) any {
	change, isDocument := patch.(document)
	if !isDocument {
		return patch
	}
	merged, isDocument := target.(document)
	if !isDocument {
		merged = document{}
	}
	for name, value := range change {
		if value == nil {
			delete(merged, name)
		} else {
			merged[name] = mergePatch(merged[name], value)
		}
	}
	return merged
}

// owner is one entry of managedFields.
type owner struct{ manager, operation, subresource string }

// holding is what one owner has, and since when.
type holding struct {
	paths map[path]bool
	time  string
}

// ownership is the managedFields of one object.
type ownership map[owner]*holding

func ownershipOf(body document) ownership {
	found := ownership{}
	entries, _ := body["metadata"].(document)["managedFields"].([]any)
	for _, each := range entries {
		entry := each.(document)
		held := &holding{paths: map[path]bool{}, time: text(entry, "time")}
		if fields, isDocument := entry["fieldsV1"].(document); isDocument {
			readFields(fields, "", held.paths)
		}
		found[owner{text(entry, "manager"), text(entry, "operation"), text(entry, "subresource")}] = held
	}
	delete(found, owner{}) // the entry by which managedFields are wiped
	return found
}

func readFields(fields document, at path, found map[path]bool) {
	if len(fields) == 0 {
		found[at] = true
	}
	for step, inner := range fields {
		readFields(inner.(document), at.child(strings.TrimPrefix(step, "f:")), found)
	}
}

// entries are the managedFields as they are stored, always in the same order.
func (o ownership) entries(apiVersion string) []any {
	sorted := slices.SortedFunc(maps.Keys(o), func(a, b owner) int {
		return strings.Compare(a.operation+a.manager+a.subresource, b.operation+b.manager+b.subresource)
	})
	entries := make([]any, 0, len(sorted))
	for _, who := range sorted {
		fields := document{}
		for at := range o[who].paths {
			inner := fields
			for _, step := range at.steps() {
				if !strings.HasPrefix(step, "k:") {
					step = "f:" + step
				}
				next, isDocument := inner[step].(document)
				if !isDocument {
					next = document{}
					inner[step] = next
				}
				inner = next
			}
		}
		entry := document{
			"manager": who.manager, "operation": who.operation, "apiVersion": apiVersion, "time": o[who].time,
			"fieldsType": "FieldsV1", "fieldsV1": fields,
		}
		if who.subresource != "" {
			entry["subresource"] = who.subresource
		}
		entries = append(entries, entry)
	}
	return entries
}

// others are who else owns a leaf.
func (o ownership) others(at path, than owner) []owner {
	var found []owner
	for who, held := range o {
		if who != than && held.paths[at] {
			found = append(found, who)
		}
	}
	return found
}

// take gives leaves to one owner and takes those of `from` from all others; who has nothing left is forgotten.
func (o ownership) take(who owner, paths map[path]bool, from map[path]bool) {
	if o[who] == nil {
		o[who] = &holding{}
	}
	o[who].paths = paths
	for other, held := range o {
		if other != who {
			maps.DeleteFunc(held.paths, func(at path, _ bool) bool { return from[at] })
		}
		if len(held.paths) == 0 {
			delete(o, other)
		}
	}
}

func text(body document, name string) string {
	value, _ := body[name].(string)
	return value
}

func decode(content []byte) (document, error) {
	var body document
	err := json.Unmarshal(content, &body)
	return body, err
}

func encode(value any) []byte {
	content, err := json.Marshal(value)
	if err != nil {
		panic(err) // it was JSON before
	}
	return content
}
