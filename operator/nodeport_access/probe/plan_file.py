"""The plan of a probe as a file: JSON that a machine without a kubeconfig reads.

Address sets stand in it once each, as the fewest CIDRs, because many targets share them. Not the business of this
module: what is in a plan (``plans``), or files and streams.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any, NoReturn, TypeVar

from nodeport_access.api import ServiceKey
from nodeport_access.cidrs import Address, AddressSet
from nodeport_access.evaluate import Eventuality
from nodeport_access.probe.plans import Assumption, Doubt, Plan, Prediction, Protocol, Target, Way

KIND = "nodeport-access probe plan"
VERSION = 1
"""Of the form of the file; another one is refused."""

T = TypeVar("T")


class PlanError(Exception):
    """The text is no plan that this program can use: one sentence with the field and the way out."""


def write(plan: Plan) -> str:
    """The text of a plan, which ``read`` makes the same plan of."""
    sets = _Sets()
    body = {
        "kind": KIND,
        "version": VERSION,
        "made": plan.made.isoformat(),
        "program": plan.program,
        "service": {"namespace": plan.service.namespace, "name": plan.service.name},
        "assumptions": {assumption.key: list(assumption.answers) for assumption in plan.assumptions},
        "nodes": sets.name(plan.nodes),
        "pods": sets.name(plan.pods),
        "onlyFor": None if plan.only_for is None else sets.name(plan.only_for),
        "notes": list(plan.notes),
        "targets": [_target(target, sets) for target in plan.targets],
        "addressSets": sets.texts,
    }
    return json.dumps(body, indent=2) + "\n"


def read(text: str) -> Plan:
    """Raises PlanError."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"it is not JSON ({error}); write one with --export.") from error
    whole = _Value(body, "")
    if not isinstance(body, dict) or body.get("kind") != KIND:
        raise PlanError(f"it is no plan of a probe (kind: {KIND!r}); write one with --export.")
    if (version := body.get("version")) != VERSION:
        raise PlanError(
            f"it is of version {version!r}, and this program reads version {VERSION}; export it with the same release."
        )
    sets = {name: value.addresses() for name, value in whole.at("addressSets").items()}
    service = whole.at("service")
    return Plan(
        service=ServiceKey(service.at("namespace").text(), service.at("name").text()),
        made=whole.at("made").time(),
        program=whole.at("program").text(),
        assumptions=tuple(Assumption(key=key, answers=value.texts()) for key, value in whole.at("assumptions").items()),
        nodes=whole.at("nodes").named(sets),
        pods=whole.at("pods").named(sets),
        only_for=None if whole.at("onlyFor").is_null else whole.at("onlyFor").named(sets),
        notes=whole.at("notes").texts(),
        targets=tuple(_read_target(each, sets) for each in whole.at("targets").each(at_least=1)),
    )


class _Sets:
    """Gives each set of addresses a name."""

    def __init__(self) -> None:
        self._names: dict[AddressSet, str] = {}

    def name(self, addresses: AddressSet) -> str:
        return self._names.setdefault(addresses, f"set-{len(self._names) + 1}")

    @property
    def texts(self) -> dict[str, list[str]]:
        return {name: list(addresses.texts()) for addresses, name in self._names.items()}


def _target(target: Target, sets: _Sets) -> dict[str, Any]:
    prediction = target.prediction
    return {
        "way": target.way,
        "node": target.node,
        "address": str(target.address),
        "port": target.port,
        "protocol": target.protocol,
        "servicePort": target.service_port,
        "surely": sets.name(prediction.surely),
        "perhaps": sets.name(prediction.perhaps),
        "unenforced": sets.name(prediction.unenforced),
        "dependsOn": [{"about": doubt.about, "assume": doubt.key} for doubt in prediction.doubts],
        "eventualities": [
            {"if": list(each.conditions), "admitted": sets.name(each.admitted)} for each in prediction.eventualities
        ],
        "derivation": list(prediction.derivation),
    }


def _read_target(value: _Value, sets: Mapping[str, AddressSet]) -> Target:
    prediction = Prediction(
        surely=value.at("surely").named(sets),
        perhaps=value.at("perhaps").named(sets),
        unenforced=value.at("unenforced").named(sets),
        derivation=value.at("derivation").texts(),
        doubts=tuple(
            Doubt(about=each.at("about").text(), key=each.at("assume").text()) for each in value.at("dependsOn").each()
        ),
        eventualities=tuple(
            Eventuality(conditions=each.at("if").texts(), admitted=each.at("admitted").named(sets))
            for each in value.at("eventualities").each()
        ),
    )
    if not prediction.surely <= prediction.perhaps:
        value.at("surely").refuse("a part of what perhaps names")
    return Target(
        way=value.at("way").one_of(Way),
        node=value.at("node").text(),
        address=value.at("address").address(),
        port=value.at("port").port(),
        protocol=value.at("protocol").one_of(Protocol),
        service_port=value.at("servicePort").text(),
        prediction=prediction,
    )


class _Value:
    """A value of the file, and the path at which it stands."""

    def __init__(self, value: object, path: str) -> None:
        self._value, self._path = value, path

    def refuse(self, wanted: str) -> NoReturn:
        """Raises PlanError."""
        raise PlanError(f"{self._path or 'it'} must be {wanted}; export the plan anew.")

    def at(self, name: str) -> _Value:
        """A field that must be there."""
        value = self._mapping()
        path = f"{self._path}.{name}".lstrip(".")
        if name not in value:
            raise PlanError(f"{path} is missing; export the plan anew.")
        return _Value(value[name], path)

    def items(self) -> Iterable[tuple[str, _Value]]:
        return [(name, _Value(value, f"{self._path}.{name}")) for name, value in self._mapping().items()]

    def each(self, *, at_least: int = 0) -> Iterable[_Value]:
        if not isinstance(self._value, list):
            self.refuse("a list")
        if len(self._value) < at_least:
            self.refuse(f"a list with at least {at_least}")
        return [_Value(value, f"{self._path}[{index}]") for index, value in enumerate(self._value)]

    @property
    def is_null(self) -> bool:
        return self._value is None

    def text(self) -> str:
        if not isinstance(self._value, str):
            self.refuse("a text")
        return self._value

    def texts(self) -> tuple[str, ...]:
        return tuple(each.text() for each in self.each())

    def port(self) -> int:
        if type(self._value) is not int or not 1 <= self._value <= 65535:
            self.refuse("a number from 1 to 65535")
        return self._value

    def one_of(self, options: Callable[[str], T]) -> T:
        return self._parsed(options, wanted=f"one of {', '.join(map(str, options))}")  # type: ignore[call-overload]  # an Enum class is iterable

    def address(self) -> Address:
        return self._parsed(ip_address, wanted="an IP address")

    def time(self) -> datetime:
        found = self._parsed(datetime.fromisoformat, wanted="a time with its zone, as in RFC 3339")
        if found.tzinfo is None:
            self.refuse("a time with its zone, as in RFC 3339")
        return found

    def addresses(self) -> AddressSet:
        try:
            return AddressSet.from_texts(self.texts())
        except ValueError:
            self.refuse("a list of CIDRs")

    def named(self, sets: Mapping[str, AddressSet]) -> AddressSet:
        if (name := self.text()) not in sets:
            self.refuse("the name of one of addressSets")
        return sets[name]

    def _parsed(self, parse: Callable[[str], T], *, wanted: str) -> T:
        try:
            return parse(self.text())
        except ValueError:
            self.refuse(wanted)

    def _mapping(self) -> Mapping[str, object]:
        if not isinstance(self._value, dict):
            self.refuse("an object with fields")
        return self._value
