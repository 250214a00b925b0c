package main

import (
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// pulse is how often churn looks what is due.
const pulse = 5 * time.Millisecond

// rates are changes a second, by the set in which they happen.
type rates struct {
	Slices     map[string]float64 `json:"slices"`     // a pod is replaced by another, on the same node
	Heartbeats map[string]float64 `json:"heartbeats"` // a Node says that it is alive
	Drifts     map[string]float64 `json:"drifts"`     // somebody sets a Service to Cluster
}

// opening is a drift that nobody has repaired yet.
type opening struct {
	at      time.Time
	version uint64
}

// churn changes objects at a rate, as controllers and others would, and sees how soon drifts are repaired.
type churn struct {
	store *store

	lock      sync.Mutex
	live      inhabitants
	stopping  chan struct{} // closed to end the changes under way
	running   sync.WaitGroup
	began     time.Time
	made      map[string]int            // changes, by what and in which set
	open      map[place]opening         // drifts
	latencies []float64                 // seconds from a drift to the answer to its repair
	writes    map[string]map[string]int // of others, by user and resource
}

func newChurn(store *store) *churn {
	c := &churn{store: store, stopping: make(chan struct{})}
	c.inhabit(nil)
	return c
}

// inhabit says where things can be changed from now on.
func (c *churn) inhabit(live inhabitants) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.live = live
	c.beginAnew()
}

func (c *churn) beginAnew() {
	c.began, c.made, c.open = time.Now(), map[string]int{}, map[place]opening{}
	c.latencies, c.writes = nil, map[string]map[string]int{}
}

// stop returns when nothing changes any more.
func (c *churn) stop() {
	close(c.stopping)
	c.running.Wait()
	c.stopping = make(chan struct{})
}

// set begins other changes in place of those under way, and figures anew.
func (c *churn) set(wanted rates) error {
	c.stop()
	c.lock.Lock()
	defer c.lock.Unlock()
	c.beginAnew()
	for _, each := range []struct {
		what, plural string
		rates        map[string]float64
		change       func(at place, number int)
	}{
		{"slices", "endpointslices", wanted.Slices, c.changeSlice},
		{"heartbeats", "nodes", wanted.Heartbeats, c.beat},
		{"drifts", "services", wanted.Drifts, c.drift},
	} {
		for name, rate := range each.rates {
			places := c.live[name][each.plural]
			if len(places) == 0 {
				return badRequest("no " + each.plural + " in set " + name)
			}
			stopping := c.stopping
			c.running.Go(func() { c.change(each.what+"/"+name, places, rate, each.change, stopping) })
		}
	}
	return nil
}

// change makes as many changes as are due, here and there, until it is to stop.
func (c *churn) change(what string, places []place, rate float64, change func(place, int), stopping <-chan struct{}) {
	ticker := time.NewTicker(pulse)
	defer ticker.Stop()
	begin, done := time.Now(), 0
	for {
		select {
		case <-stopping:
			return
		case <-ticker.C:
		}
		for due := int(rate * time.Since(begin).Seconds()); done < due; done++ {
			change(places[done*7919%len(places)], done)
			c.lock.Lock()
			c.made[what]++
			c.lock.Unlock()
		}
	}
}

func (c *churn) changeSlice(at place, number int) {
	c.alter("discovery.k8s.io/v1/endpointslices", at, "endpointslice-controller", func(body document) {
		endpoints := body["endpoints"].([]any)
		endpoints[0].(document)["addresses"] = []any{address(192, number%(1<<22))}
	})
}

func (c *churn) beat(at place, _ int) {
	c.alter("/v1/nodes", at, "kubelet", func(body document) {
		for _, condition := range body["status"].(document)["conditions"].([]any) {
			condition.(document)["lastHeartbeatTime"] = time.Now().UTC().Format(time.RFC3339Nano)
		}
	})
}

// drift leaves alone what is still open: a second one could not be told from the first.
func (c *churn) drift(at place, _ int) {
	begin := time.Now()
	c.lock.Lock()
	_, open := c.open[at]
	c.lock.Unlock()
	if open {
		return
	}
	c.store.lock.Lock()
	defer c.store.lock.Unlock()
	if stored := c.alterLocked("/v1/services", at, "somebody", func(body document) {
		body["spec"].(document)["externalTrafficPolicy"] = "Cluster"
	}); stored != nil {
		c.lock.Lock()
		c.open[at] = opening{begin, stored.version}
		c.lock.Unlock()
	}
}

func (c *churn) alter(resource string, at place, manager string, edit func(document)) {
	c.store.lock.Lock()
	defer c.store.lock.Unlock()
	c.alterLocked(resource, at, manager, edit)
}

// alterLocked is nil where the object is gone.
func (c *churn) alterLocked(resource string, at place, manager string, edit func(document)) *object {
	k := c.store.kinds[resource]
	old := k.objects[at.namespace+"/"+at.name]
	if old == nil {
		return nil
	}
	wanted := old.document()
	edit(wanted)
	next := begin(target{kind: k, namespace: at.namespace, name: at.name, manager: manager}, old)
	c.store.update(next, wanted)
	return c.store.commit(next, owner{manager, "Update", ""})
}

var local = []byte(`"externalTrafficPolicy":"Local"`)

// answered counts a write of somebody else, and closes the drift that it repaired.
func (c *churn) answered(call *call, code int, at time.Time) {
	who := strings.TrimPrefix(call.request.Header.Get("Authorization"), "Bearer ")
	resource := call.kind.plural
	if call.subresource != "" {
		resource += "/" + call.subresource
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.writes[who] == nil {
		c.writes[who] = map[string]int{}
	}
	c.writes[who][resource]++
	if code >= http.StatusMultipleChoices || call.kind.plural != "services" {
		return
	}
	where := place{call.namespace, call.name}
	opened, isOpen := c.open[where]
	if isOpen && call.stored.version > opened.version && bytes.Contains(call.stored.body, local) {
		delete(c.open, where)
		c.latencies = append(c.latencies, at.Sub(opened.at).Seconds())
	}
}

// figures are what has happened since the rates were set; a drift that is still open counts by its age.
func (c *churn) figures() document {
	c.lock.Lock()
	defer c.lock.Unlock()
	now, waiting := time.Now(), slices.Clone(c.latencies)
	for _, opened := range c.open {
		waiting = append(waiting, now.Sub(opened.at).Seconds())
	}
	slices.Sort(waiting)
	repair := document{"p50": nil, "p99": nil, "most": nil}
	if last := len(waiting) - 1; last >= 0 {
		repair = document{"p50": waiting[last/2], "p99": waiting[last*99/100], "most": waiting[last]}
	}
	writes := map[string]map[string]int{}
	for who, counts := range c.writes {
		writes[who] = maps.Clone(counts)
	}
	return document{
		"seconds": now.Sub(c.began).Seconds(), "made": maps.Clone(c.made), "repaired": len(c.latencies),
		"open": len(c.open), "repair": repair, "writes": writes,
	}
}
