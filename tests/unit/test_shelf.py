"""The newest version wins, whoever brings it, and in whatever order: lists, events, and answers to our own writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access.api import Body
from nodeport_access.shelf import GRAVES, ScopedSink, Shelf
from tests.unit.strategies import properties

Key = tuple[str, str]


@dataclass(frozen=True)
class Thing:
    """What is parsed of a body; its version is left out, as with real objects."""

    namespace: str
    name: str
    uid: str
    content: str


def parse(body: Body) -> Thing:
    metadata = body["metadata"]
    return Thing(metadata["namespace"], metadata["name"], metadata["uid"], body["content"])


def body(version: int, name: str = "a", *, namespace: str = "web", uid: str = "u1", content: str = "x") -> Body:
    return {
        "metadata": {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": str(version)},
        "content": content,
    }


@dataclass
class Watched:
    """A shelf, and what it told of changes: always from what was there before to what is there after."""

    changes: list[tuple[Thing | None, Thing | None]] = field(default_factory=list)
    view: dict[Key, Thing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shelf: Shelf[Thing] = Shelf(parse=parse, changed=self.changed)

    def changed(self, old: Thing | None, new: Thing | None) -> None:
        assert old != new, "a change that is none was told"
        one = old or new
        assert one is not None
        key = (one.namespace, one.name)
        assert self.view.get(key) == old
        if new is None:
            del self.view[key]
        else:
            self.view[key] = new
        self.changes.append((old, new))

    def content(self, name: str = "a", namespace: str = "web") -> str | None:
        assert {(thing.namespace, thing.name): thing for thing in self.shelf} == self.view
        assert len(self.shelf) == len(self.view)
        found = self.shelf.get(namespace, name)
        return found.content if found else None


def test_a_list_of_what_is_known_puts_no_new_objects_in_place_of_the_old() -> None:
    """Of all that is kept, half would stand in memory twice while the list is read, and leave holes after it."""
    watched = Watched()
    bodies = [body(1, "a"), body(2, "b")]
    watched.shelf.replace(bodies, "2")
    before = [*watched.shelf]
    watched.shelf.replace([*bodies, body(3, "c")], "3")
    assert all(now is then for now, then in zip(watched.shelf, before, strict=False))
    assert watched.content("c") == "x"


def test_a_list_shows_what_a_changed_crd_makes_of_an_object_of_the_same_version() -> None:
    watched = Watched()
    watched.shelf.replace([body(1)], "1")
    watched.shelf.replace([body(1, content="y")], "2")
    assert watched.content() == "y"


def test_an_object_is_kept_and_told_of_once() -> None:
    watched = Watched()
    watched.shelf.put(body(1))
    watched.shelf.put(body(1))
    watched.shelf.put(body(2))  # nothing of it matters
    assert watched.content() == "x"
    assert watched.changes == [(None, parse(body(1)))]


def test_the_event_of_a_write_whose_answer_is_known_is_not_read_again() -> None:
    read: list[Body] = []

    def reading(given: Body) -> Thing:
        read.append(given)
        return parse(given)

    shelf: Shelf[Thing] = Shelf(parse=reading, changed=lambda *_: None)
    shelf.put(body(5, content="answered"))
    shelf.hear(body(5, content="answered"))
    shelf.hear(body(4, content="before"))
    shelf.hear(body(6, content="after"))
    assert [given["content"] for given in read] == ["answered", "after"]


def test_an_older_version_is_passed_over() -> None:
    watched = Watched()
    watched.shelf.put(body(5, content="new"))
    watched.shelf.put(body(4, content="old"))
    assert watched.content() == "new"


def test_our_own_answer_stays_when_the_list_was_taken_before_it() -> None:
    watched = Watched()
    watched.shelf.put(body(7, content="answered"))
    watched.shelf.replace([], "5")
    assert watched.content() == "answered"
    watched.shelf.replace([body(3, content="old")], "6")
    assert watched.content() == "answered"
    watched.shelf.replace([], "8")
    assert watched.content() is None


def test_an_answer_that_is_overtaken_by_the_deletion_does_not_bring_the_object_back() -> None:
    watched = Watched()
    watched.shelf.drop(body(9))
    watched.shelf.put(body(8))
    assert watched.content() is None
    watched.shelf.put(body(10, uid="u2"))
    assert watched.content() == "x"


def test_an_answer_older_than_a_list_without_the_object_does_not_bring_it_back() -> None:
    watched = Watched()
    watched.shelf.replace([body(3)], "4")
    watched.shelf.replace([], "9")
    for late in (3, 8):
        watched.shelf.put(body(late))
        assert watched.content() is None
    watched.shelf.put(body(8, "never seen"))
    assert watched.content("never seen") is None


def test_the_deletion_of_an_object_made_anew_since_is_old_news() -> None:
    watched = Watched()
    watched.shelf.put(body(10, uid="u2"))
    watched.shelf.drop(body(9, uid="u1"))
    assert watched.content() == "x"


def test_what_the_api_server_says_is_gone_stays_gone_when_its_last_event_comes_late() -> None:
    watched = Watched()
    watched.shelf.put(body(5))
    watched.shelf.forget("web", "a", "u1")
    assert watched.content() is None
    watched.shelf.put(body(5))
    assert watched.content() is None
    watched.shelf.put(body(7, uid="u2"))
    assert watched.content() == "x"


def test_a_list_taken_before_the_end_of_an_object_does_not_bring_it_back() -> None:
    watched = Watched()
    watched.shelf.put(body(5))
    watched.shelf.forget("web", "a", "u1")
    watched.shelf.drop(body(9, "b", uid="u2"))
    watched.shelf.replace([body(5), body(8, "b", uid="u2")], "8")
    assert (watched.content(), watched.content("b")) == (None, None)


def test_an_object_with_another_uid_is_not_forgotten() -> None:
    watched = Watched()
    watched.shelf.put(body(5, uid="u2"))
    watched.shelf.forget("web", "a", "u1")
    watched.shelf.forget("web", "unknown", "u1")
    assert watched.content() == "x"


def test_a_list_of_one_namespace_says_nothing_of_another() -> None:
    watched = Watched()
    watched.shelf.put(body(1, namespace="web"))
    watched.shelf.put(body(2, namespace="db"))
    watched.shelf.replace([], "9", namespace="web")
    assert watched.content(namespace="web") is None
    assert watched.content(namespace="db") == "x"
    watched.shelf.put(body(5, "b", namespace="db"))
    assert watched.content("b", "db") == "x"


def test_a_namespace_that_is_watched_no_more_is_forgotten_whole() -> None:
    watched = Watched()
    watched.shelf.replace([body(1, namespace="web"), body(2, "b", namespace="web")], "9", namespace="web")
    watched.shelf.replace([body(2, namespace="db")], "9", namespace="db")
    watched.shelf.clear("web")
    assert {key[0] for key in watched.view} == {"db"}
    watched.shelf.replace([body(3, namespace="web")], "7", namespace="web")  # watched again, and never older
    assert watched.content(namespace="web") == "x"


def test_deletions_are_remembered_in_bounded_memory() -> None:
    watched = Watched()
    for version in range(1, GRAVES + 100):
        watched.shelf.drop(body(version, f"n{version}"))
    held = vars(watched.shelf)
    assert max(len(value) for value in held.values() if hasattr(value, "__len__")) == GRAVES


# --- a restored etcd: versions begin again below those that were seen ---


def sink(watched: Watched, namespace: str | None = None) -> ScopedSink:
    return ScopedSink(watched.shelf, namespace)


def test_a_list_older_than_the_list_before_it_is_the_truth() -> None:
    watched = Watched()
    watch = sink(watched)
    watch.replace([watch.reader()(body(90, content="lost")), watch.reader()(body(91, "b"))], "100")
    watched.shelf.drop(body(99, "c"))
    watch.replace([watch.reader()(body(40, content="restored")), watch.reader()(body(41, "c"))], "50")
    assert (watched.content(), watched.content("b"), watched.content("c")) == ("restored", None, "x")
    watch.put(body(51, content="after"))
    assert watched.content() == "after"


def test_a_list_older_than_the_events_before_it_is_the_truth() -> None:
    # The list of the start is old by then, so that it tells nothing: what the stream brought does.
    watched = Watched()
    watch = sink(watched)
    watch.replace([watch.reader()(body(5, content="first"))], "10")
    watch.put(body(90, content="lost"))
    watch.drop(body(95, "b"))
    watch.replace([watch.reader()(body(40, content="restored")), watch.reader()(body(41, "b"))], "50")
    assert (watched.content(), watched.content("b")) == ("restored", "x")
    watch.put(body(51, content="after"))
    assert watched.content() == "after"


def test_a_list_older_than_our_own_answers_proves_nothing() -> None:
    # It was asked for before them.
    watched = Watched()
    watch = sink(watched)
    watch.replace([], "10")
    watched.shelf.put(body(30, content="answered"))
    watch.replace([watch.reader()(body(15, content="old"))], "20")
    assert watched.content() == "answered"


# --- any interleaving, against a model that only knows that versions are a total order ---


@dataclass
class Model:
    """For each key the newest that anybody said: a version, and what was there then."""

    said: dict[Key, tuple[float, str | None]] = field(default_factory=dict)
    floor: int = 0

    def newest(self, key: Key) -> tuple[float, str | None]:
        return self.said.get(key, (self.floor, None))

    def hear(self, key: Key, version: float, content: str | None) -> None:
        if version >= self.newest(key)[0]:
            self.said[key] = (version, content)

    def hear_list(self, listed: dict[Key, tuple[int, str]], version: int) -> None:
        for key in self.said.keys() | listed.keys():
            if key in listed:
                self.hear(key, *listed[key])
            else:
                self.hear(key, version, None)
        self.floor = max(self.floor, version)


@dataclass
class Etcd:
    """The truth, in one order: every write gets the next version, and is an event and, if it was ours, an answer."""

    revision: int = 10
    objects: dict[Key, tuple[int, str, str]] = field(default_factory=dict)
    events: list[tuple[str, Body]] = field(default_factory=list)
    answers: list[Body] = field(default_factory=list)
    lists: list[tuple[list[Body], int]] = field(default_factory=list)

    def write(self, name: str, content: str) -> None:
        self.revision += 1
        uid = self.objects[("web", name)][1] if ("web", name) in self.objects else f"u{self.revision}"
        self.objects["web", name] = (self.revision, uid, content)
        made = body(self.revision, name, uid=uid, content=content)
        self.events.append(("put", made))
        self.answers.append(made)

    def delete(self, name: str) -> None:
        if ("web", name) in self.objects:
            self.revision += 1
            _, uid, content = self.objects.pop(("web", name))
            self.events.append(("drop", body(self.revision, name, uid=uid, content=content)))

    def take_list(self) -> None:
        self.lists.append((list(self.bodies()), self.revision))

    def bodies(self) -> Iterator[Body]:
        for (namespace, name), (version, uid, content) in self.objects.items():
            yield body(version, name, namespace=namespace, uid=uid, content=content)


NAMES = ("a", "b")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(NAMES), st.sampled_from("xyz")),
        st.tuples(st.just("delete"), st.sampled_from(NAMES)),
        st.tuples(st.just("take list")),
        st.tuples(st.just("event")),
        st.tuples(st.just("answer"), st.integers(0, 20)),
        st.tuples(st.just("list")),
        st.tuples(st.just("forget"), st.sampled_from(NAMES)),
    ),
    max_size=30,
)


@properties(300)
@given(STEPS)
def test_the_newest_wins_in_any_order_and_in_the_end_the_shelf_holds_the_truth(steps: list[tuple[Any, ...]]) -> None:
    etcd, model, watched = Etcd(), Model(), Watched()
    watch, heard = sink(watched), 0

    def deliver(verb: str, thing: Body, *, through: Any) -> None:
        key, version = ("web", thing["metadata"]["name"]), int(thing["metadata"]["resourceVersion"])
        (through.put if verb == "put" else through.drop)(thing)
        model.hear(key, version, thing["content"] if verb == "put" else None)

    for step in [*steps, *([("event",)] * len(steps)), *([("answer", 0)] * len(steps))]:
        match step:
            case ("write", name, content):
                etcd.write(name, content)
            case ("delete", name):
                etcd.delete(name)
            case ("take list",):
                etcd.take_list()
            case ("event",) if etcd.events:
                heard = int(etcd.events[0][1]["metadata"]["resourceVersion"])
                deliver(*etcd.events.pop(0), through=watch)
            case ("answer", which) if etcd.answers:
                deliver("put", etcd.answers.pop(which % len(etcd.answers)), through=watched.shelf)
            case ("list",) if etcd.lists:
                # A stream broke: a list is never older than what the stream brought, and the next goes on from there.
                bodies, version = etcd.lists.pop()
                if version < heard:
                    continue
                heard = version
                etcd.events = [each for each in etcd.events if int(each[1]["metadata"]["resourceVersion"]) > version]
                watch.replace([watch.reader()(each) for each in bodies], str(version))
                listed = {
                    ("web", each["metadata"]["name"]): (int(each["metadata"]["resourceVersion"]), each["content"])
                    for each in bodies
                }
                model.hear_list(listed, version)
            case ("forget", name) if ("web", name) not in etcd.objects:
                # The API server says so at this moment.
                if (found := watched.shelf.get("web", name)) is not None:
                    watched.shelf.forget("web", name, found.uid)
                    model.hear(("web", name), model.newest(("web", name))[0] + 0.5, None)
        for name in NAMES:
            assert watched.content(name) == model.newest(("web", name))[1], (step, name)

    assert {key: thing.content for key, thing in watched.view.items()} == {
        key: content for key, (_, _, content) in etcd.objects.items()
    }


@pytest.mark.parametrize("restored_at", [5, 12, 17])
@properties(50)
@given(writes=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from("xyz")), min_size=20, max_size=20))
def test_a_restored_etcd_is_the_truth_however_old_the_last_list_is(
    restored_at: int, writes: list[tuple[str, str]]
) -> None:
    etcd, watched = Etcd(), Watched()
    watch = sink(watched)
    watch.replace([], str(etcd.revision))
    backup: tuple[int, dict[Key, tuple[int, str, str]]] = (etcd.revision, {})
    for number, (name, content) in enumerate(writes):
        if number == restored_at:
            backup = (etcd.revision, dict(etcd.objects))
        if etcd.objects.get(("web", name), ("", "", ""))[2] == content:
            etcd.delete(name)
        else:
            etcd.write(name, content)
    for verb, thing in etcd.events:
        (watch.put if verb == "put" else watch.drop)(thing)
    etcd.revision, etcd.objects = backup
    # It has seen a write of its own since. Past what was heard before, no client could tell it from the old one.
    etcd.revision += 1
    watch.replace([watch.reader()(each) for each in etcd.bodies()], str(etcd.revision))
    assert {key: thing.content for key, thing in watched.view.items()} == {
        key: content for key, (_, _, content) in etcd.objects.items()
    }
