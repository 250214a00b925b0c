"""What is told of Kopf's hearing, by the requests that he makes."""

from __future__ import annotations

import logging

import pytest

from nodeport_access.complaints import Complaints
from nodeport_access.feed import Feed
from nodeport_access.kube import POLICIES, Forbidden

LOG = logging.getLogger("test.feed")
POLICIES_PATH = "/apis/nodeport-access.io/v1alpha1/nodeportaccesspolicies"
BLUE, GREEN = (
    f"/apis/nodeport-access.io/v1alpha1/namespaces/{name}/nodeportaccesspolicies" for name in ("blue", "green")
)
FORBIDDEN = Forbidden(status=403, reason="Forbidden", message="no")


class Fed(Feed):
    """A feed that counts how often it broke off, and how often it heard again after a gap."""

    def __init__(self, *namespaces: str | None) -> None:
        self.seconds = 0.0
        super().__init__(
            resource=POLICIES,
            namespaces=namespaces or (None,),
            time=lambda: self.seconds,
            log=LOG,
            complaints=Complaints(time=lambda: self.seconds),
        )
        self.broken = self.heard = 0
        self.on_gap = self._gap
        self.on_heard = self._hears

    def _gap(self) -> None:
        self.broken += 1

    def _hears(self) -> None:
        self.heard += 1


def test_a_stream_that_goes_on_from_where_it_was_leaves_no_gap() -> None:
    feed = Fed()
    feed.told("watch", POLICIES_PATH, None)
    feed.told("watch", POLICIES_PATH, None)
    assert (feed.heard, feed.refused) == (0, None)


@pytest.mark.parametrize("verb", ["watch", "get"])
def test_after_a_request_that_failed_there_is_a_gap_as_soon_as_the_stream_is_open(verb: str) -> None:
    feed = Fed()
    feed.told("watch", POLICIES_PATH, None)
    feed.told(verb, POLICIES_PATH, FORBIDDEN)
    assert (feed.heard, feed.refused) == (0, FORBIDDEN)
    feed.told("watch", POLICIES_PATH, None)
    assert (feed.heard, feed.refused) == (1, None)


def test_a_new_list_is_a_gap_because_it_does_not_tell_of_deletions() -> None:
    feed = Fed()
    feed.told("get", POLICIES_PATH, None)
    assert feed.heard == 0
    feed.told("watch", POLICIES_PATH, None)
    feed.told("watch", POLICIES_PATH, None)
    assert feed.heard == 1


def test_a_list_is_no_proof_that_events_can_be_heard() -> None:
    feed = Fed()
    feed.told("watch", POLICIES_PATH, FORBIDDEN)
    feed.told("get", POLICIES_PATH, None)
    assert feed.refused is FORBIDDEN


def test_each_namespace_has_a_stream_of_its_own() -> None:
    feed = Fed("blue", "green")
    feed.told("watch", BLUE, FORBIDDEN)
    feed.told("watch", GREEN, None)
    assert feed.refused is FORBIDDEN
    feed.told("watch", BLUE, None)
    assert feed.refused is None


def test_other_requests_are_not_looked_at() -> None:
    feed = Fed()
    feed.told("watch", POLICIES_PATH, None)
    feed.told("get", "/apis", FORBIDDEN)
    assert feed.refused is None


def test_a_feed_is_not_relied_on_before_each_of_its_streams_is_open() -> None:
    feed = Fed("blue", "green")
    assert str(feed.refused) == "no stream is open yet"
    feed.told("watch", BLUE, None)
    assert str(feed.refused) == "no stream is open yet"
    feed.told("watch", GREEN, None)
    assert feed.refused is None


def test_a_feed_that_breaks_off_is_refused_until_it_hears_again_and_a_roster_is_due_before_and_after(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger=LOG.name)
    feed = Fed()
    feed.told("watch", POLICIES_PATH, None)
    for _ in range(3):
        feed.broke_off(ValueError("line 1\ncolumn 2"))
    assert str(feed.refused) == "Kopf broke off, and is started again: ValueError: line 1 column 2"
    feed.told("watch", POLICIES_PATH, None)
    assert (feed.broken, feed.heard, feed.refused) == (3, 1, None)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "Kopf broke off, and is started again: ValueError: line 1 column 2",
        "works again",
    ]


def test_a_feed_that_has_begun_and_asks_for_nothing_is_overdue_after_ten_seconds() -> None:
    feed = Fed()
    feed.seconds = 1000.0
    assert not feed.overdue(), "it has not begun"
    feed.begins()
    feed.seconds += 10
    assert not feed.overdue()
    feed.told("get", "/apis", None)
    feed.seconds += 10
    assert not feed.overdue(), "it looks for what there is"
    feed.seconds += 0.1
    assert feed.overdue()


def test_a_stream_that_has_not_been_opened_anew_for_longer_than_it_may_last_is_overdue() -> None:
    feed = Fed("blue", "green")
    feed.begins()
    feed.told("watch", BLUE, None)
    feed.told("watch", GREEN, None)
    feed.seconds = 300.0
    feed.told("watch", BLUE, None)
    assert not feed.overdue()
    feed.seconds = 310.1
    assert feed.overdue(), "the other one should have been"
    feed.told("watch", GREEN, None)
    assert not feed.overdue()


def test_a_feed_that_is_refused_complains_once_and_in_words_that_help(caplog: pytest.LogCaptureFixture) -> None:
    feed = Fed()
    for _ in range(3):
        feed.told("watch", POLICIES_PATH, FORBIDDEN)
    (record,) = caplog.records
    assert "not allowed to watch nodeportaccesspolicies.nodeport-access.io: no" in record.getMessage()
