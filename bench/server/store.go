package main

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	// history is how many events of one kind are remembered for watches that begin or go on.
	history = 20_000
	// snapshots is how many lists may be under way, page by page, before the oldest is forgotten.
	snapshots = 64
	// firstVersion leaves 1 to those who apply what must not be there yet.
	firstVersion = 1000
)

// object is one version of an object; it never changes.
type object struct {
	namespace, name, uid string
	version              uint64
	body                 []byte // {"metadata":{...},...}, without apiVersion and kind
	metadata             int    // how much of body is metadata, its name included
}

func (o *object) document() document {
	body, err := decode(o.body)
	if err != nil {
		panic(err)
	}
	return body
}

// carries says whether the object has a label. An annotation of the same name counts too.
func (o *object) carries(label string) bool {
	return bytes.Contains(o.body[:o.metadata], []byte(strconv.Quote(label)+":"))
}

// write adds the object to a buffer, as it is alone: with its apiVersion and kind, or nothing but its metadata.
func (o *object) write(to *bytes.Buffer, prefix string, partial bool) {
	if partial {
		to.WriteString(`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1",`)
		to.Write(o.body[1:o.metadata])
		to.WriteByte('}')
		return
	}
	to.WriteString(prefix)
	to.Write(o.body[1:])
}

// event is one change as watches tell it.
type event struct {
	kind   string
	object *object
}

// kind is a resource with its objects and its latest events.
type kind struct {
	group, version, plural, name string
	namespaced                   bool
	status                       bool   // whether it has the subresource
	custom                       schema // of a CRD; nil for what Kubernetes brings along

	objects map[string]*object
	sorted  []*object // by namespace and name; nil where it must be sorted anew
	events  []event
	oldest  uint64        // a watch cannot begin before this version
	changed chan struct{} // closed at the next change
}

func (k *kind) apiVersion() string {
	if k.group == "" {
		return k.version
	}
	return k.group + "/" + k.version
}

func (k *kind) prefix() string {
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,`, k.apiVersion(), k.name)
}

// String is how refusals name the resource.
func (k *kind) String() string {
	if k.group == "" {
		return k.plural
	}
	return k.plural + "." + k.group
}

func (k *kind) forget(version uint64) {
	k.objects, k.sorted, k.events, k.oldest = map[string]*object{}, nil, nil, version
	k.wake()
}

func (k *kind) wake() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// store holds everything, under one lock.
type store struct {
	lock      sync.RWMutex
	kinds     map[string]*kind // by group/version/plural
	version   uint64
	lists     map[string][]*object // what is left of a list, by its continue token
	listOrder []string
	pages     int // that were not the last of their list
	ports     int // node ports that were given out
	addresses int // and cluster addresses
	names     int // and ends of generated names
}

func newStore() *store {
	s := &store{kinds: map[string]*kind{}, version: firstVersion, lists: map[string][]*object{}}
	for _, each := range []kind{
		{version: "v1", plural: "namespaces", name: "Namespace"},
		{version: "v1", plural: "nodes", name: "Node"},
		{version: "v1", plural: "pods", name: "Pod", namespaced: true},
		{version: "v1", plural: "services", name: "Service", namespaced: true},
		{version: "v1", plural: "events", name: "Event", namespaced: true},
		{group: "events.k8s.io", version: "v1", plural: "events", name: "Event", namespaced: true},
		{group: "networking.k8s.io", version: "v1", plural: "networkpolicies", name: "NetworkPolicy", namespaced: true},
		{group: "discovery.k8s.io", version: "v1", plural: "endpointslices", name: "EndpointSlice", namespaced: true},
		{group: "coordination.k8s.io", version: "v1", plural: "leases", name: "Lease", namespaced: true},
		{
			group: "apiextensions.k8s.io", version: "v1", plural: "customresourcedefinitions",
			name: "CustomResourceDefinition",
		},
	} {
		s.serve(&each)
	}
	return s
}

func (s *store) serve(k *kind) {
	k.changed = make(chan struct{})
	k.objects = map[string]*object{}
	k.oldest = s.version
	s.kinds[k.group+"/"+k.version+"/"+k.plural] = k
}

// put stores a new version and tells the watches. The caller holds the lock.
func (s *store) put(k *kind, o *object) {
	key := o.namespace + "/" + o.name
	what := "MODIFIED"
	if k.objects[key] == nil {
		what = "ADDED"
		k.sorted = nil
	} else if k.sorted != nil {
		k.sorted[s.place(k, o)] = o
	}
	k.objects[key] = o
	k.tell(event{what, o})
}

// drop forgets an object and tells the watches. The caller holds the lock.
func (s *store) drop(k *kind, o *object) {
	delete(k.objects, o.namespace+"/"+o.name)
	k.sorted = nil
	k.tell(event{"DELETED", o})
}

func (k *kind) tell(e event) {
	if len(k.events) >= 2*history {
		k.events = slices.Clone(k.events[history:])
		k.oldest = k.events[0].object.version - 1
	}
	k.events = append(k.events, e)
	k.wake()
}

func compare(a, b *object) int {
	if order := strings.Compare(a.namespace, b.namespace); order != 0 {
		return order
	}
	return strings.Compare(a.name, b.name)
}

func (s *store) place(k *kind, o *object) int {
	index, _ := slices.BinarySearchFunc(k.sorted, o, compare)
	return index
}

// all objects of a kind in one namespace, or in all, in order, and the version that they are of.
func (s *store) all(k *kind, namespace string) ([]*object, uint64) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if k.sorted == nil {
		k.sorted = make([]*object, 0, len(k.objects))
		for _, each := range k.objects {
			k.sorted = append(k.sorted, each)
		}
		slices.SortFunc(k.sorted, compare)
	}
	if namespace == "" {
		return slices.Clone(k.sorted), s.version
	}
	first := s.place(k, &object{namespace: namespace})
	last := first
	for last < len(k.sorted) && k.sorted[last].namespace == namespace {
		last++
	}
	return slices.Clone(k.sorted[first:last]), s.version
}

// page is one page of a list; token is empty on the last one. The version is part of each token.
func (s *store) page(k *kind, namespace, label, token string, limit int) (page []*object, version uint64, next string, err error) {
	var rest []*object
	if token == "" {
		rest, version = s.all(k, namespace)
		if label != "" {
			rest = slices.DeleteFunc(rest, func(o *object) bool { return !o.carries(label) })
		}
	} else {
		s.lock.Lock()
		rest = s.lists[token]
		delete(s.lists, token)
		s.lock.Unlock()
		if rest == nil {
			return nil, 0, "", expired("The provided continue parameter is too old")
		}
		of, _, _ := strings.Cut(token, "-")
		version, _ = strconv.ParseUint(of, 10, 64)
	}
	if limit <= 0 || limit >= len(rest) {
		return rest, version, "", nil
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.pages++
	next = fmt.Sprintf("%d-%d", version, s.pages)
	s.lists[next] = rest[limit:]
	s.listOrder = append(s.listOrder, next)
	if len(s.listOrder) > snapshots {
		delete(s.lists, s.listOrder[0])
		s.listOrder = s.listOrder[1:]
	}
	return rest[:limit], version, next, nil
}

// since is what happened after a version, what it is up to, and what to wait on for more.
func (s *store) since(k *kind, version uint64) ([]event, uint64, <-chan struct{}, error) {
	s.lock.RLock()
	defer s.lock.RUnlock()
	if version < k.oldest {
		return nil, 0, nil, expired(fmt.Sprintf("too old resource version: %d (%d)", version, k.oldest))
	}
	first, _ := slices.BinarySearchFunc(k.events, version+1, func(e event, wanted uint64) int {
		return int(e.object.version) - int(wanted)
	})
	return slices.Clone(k.events[first:]), s.version, k.changed, nil
}

// find is one object. The caller holds the lock.
func (k *kind) find(namespace, name string) (*object, error) {
	if found := k.objects[namespace+"/"+name]; found != nil {
		return found, nil
	}
	return nil, notFound(k, name)
}
