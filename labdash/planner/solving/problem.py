"""The lab as the search sees it: columns, what each is worth, what a node can hold.

A column is a deployment served in one way at one place; a group holds those that differ in the
place alone. What a set of columns is worth is one whole number, compared as the score is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from labdash.planner.lab import Deployment, Lab, Node
from labdash.planner.loading import Conflict, Pick, Settled, settle
from labdash.planner.placement import Profile, fastest_of, profiles
from labdash.planner.placing.engine import Rules, rules_of
from labdash.planner.placing.inventory import blob_key
from labdash.planner.placing.seats import Member
from labdash.planner.plan import Choice
from labdash.planner.score import PARTS, satisfaction, spares_cpu

# A lab moves fewer bytes than that, and a model has fewer layers.
MOST_BYTES = 1 << 60
MOST_LAYERS = 1 << 20
# What is never full: the only device of a place without GPUs.
NOWHERE = ""


class Place(NamedTuple):
    """A node by its number, and the GPUs there; ``NOWHERE`` is the device of a CPU's place."""

    node: int
    device: str
    others: tuple[str, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """All GPUs."""
        return () if self.device == NOWHERE else (self.device, *self.others)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """``points`` is the satisfaction, ``cpu`` the layers that come before all wishes.

    Where a split follows from what else is loaded, ``hope`` is the most that ``points`` can come
    to. ``need_bytes`` is what the largest part takes of its GPU, the margin among it. ``file`` is
    what a runner serves, of which ``download_bytes`` are still to be fetched.
    """

    number: int
    wanted: int
    profile: Profile
    places: tuple[Place, ...]
    points: int
    hope: int
    cpu: int
    moved: int
    worth: int
    resident: bool
    sure: bool
    need_bytes: int
    total_bytes: int
    file: str
    download_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """``loads`` are the bytes by GPU, ``reach`` all GPUs where they may come to lie.

    ``runner`` names the instance and the file that it serves.
    """

    number: int
    group: Group
    node: int
    choice: Choice
    loads: tuple[tuple[str, int], ...]
    reach: tuple[str, ...]
    runner: tuple[str, str]

    @property
    def wanted(self) -> int:
        """The number of the deployment."""
        return self.group.wanted

    @property
    def position(self) -> int:
        """Which of the group's places it is at."""
        return self.number - self.group.number

    @property
    def sure(self) -> bool:
        """Whether its bytes on each GPU do not follow from what else is loaded."""
        return self.group.sure


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What comes of a set of columns on a node, and what that is worth where it can be."""

    outcome: Settled | Conflict
    worth: int = 0
    cpu: int = 0
    points: int = 0
    moved: int = 0

    @property
    def holds(self) -> bool:
        """Whether the columns can be together."""
        return isinstance(self.outcome, Settled)


def is_sure(profile: Profile) -> bool:
    """Whether a load's bytes on each GPU do not follow from what else is loaded."""
    choice = profile.choice
    if choice.form in ("gpus", "partial"):
        return choice.num_gpu is not None
    return not profile.seat.joined


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Columns that a node holds."""

    node: int
    columns: tuple[Column, ...]
    verdict: Verdict


# Worth, layers on the CPU, points, moved bytes.
type Parts = tuple[int, int, int, int]


def _parts(group: Group) -> Parts:
    return group.worth, group.cpu, group.points, group.moved


def _number(column: Column) -> int:
    return column.number


class Problem:
    """A lab with deployments and nodes in an order of their own, so that that of input is one."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.nodes: tuple[Node, ...] = tuple(sorted(lab.nodes, key=lambda node: node.name))
        self.wanted: tuple[Deployment, ...] = tuple(
            sorted(lab.deployments, key=lambda each: (each.priority, each.name))
        )
        self.priorities = sorted({each.priority for each in self.wanted})
        self.node_numbers = {node.name: number for number, node in enumerate(self.nodes)}
        self._set_scale()
        self.fastest: list[float | None] = []
        self.groups: list[list[Group]] = []
        self._count = 0
        # By the identity of a group's members, which live as long as the groups.
        self._places: dict[int, tuple[Place, ...]] = {}
        for number in range(len(self.wanted)):
            self._add(number)
        self._columns: dict[int, Column] = {}
        self._verdicts: dict[tuple[int, tuple[int, ...]], Verdict] = {}

    def _set_scale(self) -> None:
        """Choose what one of each part of the score is worth, so that the next never makes up."""
        seats = sum(each.replicas for each in self.wanted)
        self.of_point = MOST_BYTES
        self.of_layer = self.of_point * (seats * PARTS + 1)
        served = self.of_layer * (seats * MOST_LAYERS + 1)
        self.of_served: dict[int, int] = {}
        for priority in reversed(self.priorities):
            self.of_served[priority] = served
            served *= seats + 1

    def _add(self, number: int) -> None:
        deployment = self.wanted[number]
        found = profiles(self.lab, deployment)
        self.fastest.append(fastest_of(each.choice for each in found))
        made = [self._group(number, profile) for profile in found]
        self.groups.append(sorted(made, key=lambda each: (-each.worth, each.need_bytes)))

    def _group(self, number: int, profile: Profile) -> Group:
        deployment, choice = self.wanted[number], profile.choice
        first = self._count
        self._count += len(profile.members)
        cpu = choice.cpu_layers if spares_cpu(deployment) else 0
        moved = choice.download_bytes + choice.moved_bytes
        largest = max((choice.bytes[device] for device in choice.gpu_devices), default=0)
        return Group(
            number=first,
            wanted=number,
            profile=profile,
            places=self._places_of(profile.members),
            points=profile.satisfaction,
            hope=self._hope(number, profile),
            cpu=cpu,
            moved=moved,
            worth=self.worth_of(deployment, profile.satisfaction, cpu, moved),
            resident=deployment.resident,
            sure=is_sure(profile),
            need_bytes=largest + choice.margin_bytes if largest else 0,
            total_bytes=choice.on_gpus_bytes,
            file=blob_key(choice.variant),
            download_bytes=choice.download_bytes,
        )

    def _hope(self, number: int, profile: Profile) -> int:
        """Tell the most that comes of it: on unlike cards the fastest one may get all."""
        deployment, choice, cards = self.wanted[number], profile.choice, profile.seat.cards
        paces = {(card.bandwidth_gbs, card.speed_class) for card in cards}
        if is_sure(profile) or len(paces) == 1:
            return profile.satisfaction
        quick = replace(choice, tokens_per_s=self.fastest[number])
        return satisfaction(deployment, quick, fastest=self.fastest[number])

    def worth_of(self, deployment: Deployment, points: int, cpu: int, moved: int) -> int:
        """Tell what a served replica is worth."""
        gained = self.of_served[deployment.priority] + points * self.of_point
        return gained - cpu * self.of_layer - moved

    def column(self, group: Group, position: int) -> Column:
        """Return a group's column in one of its places, the same object each time."""
        number = group.number + position
        found = self._columns.get(number)
        if found is None:
            found = self._columns[number] = self._column(group, position)
        return found

    def _column(self, group: Group, position: int) -> Column:
        member = group.profile.members[position]
        choice = group.profile.at(member)
        return Column(
            number=group.number + position,
            group=group,
            node=self.node_numbers[member.node],
            choice=choice,
            loads=tuple((device, choice.bytes[device]) for device in choice.gpu_devices),
            reach=group.places[position].devices if choice.gpu_devices else (),
            runner=(member.instance, group.file),
        )

    def column_of(self, wanted: int, profile: Profile) -> Column:
        """Make a column that is not among those of the groups."""
        return self.column(self._group(wanted, profile), 0)

    def columns_of(self, wanted: int) -> Iterator[Column]:
        """Return all columns of a deployment, the best first."""
        for group in self.groups[wanted]:
            for position in range(len(group.profile.members)):
                yield self.column(group, position)

    def verdict(self, node: int, columns: Iterable[Column]) -> Verdict:
        """Tell what comes of columns on a node."""
        given = sorted(columns, key=_number)
        key = (node, tuple(map(_number, given)))
        found = self._verdicts.get(key)
        if found is None:
            found = self._verdicts[key] = self._settle(node, given)
        return found

    def known_verdict(self, node: int, columns: Iterable[Column]) -> Verdict | None:
        """Tell what came of a set that has been settled before."""
        return self._verdicts.get((node, tuple(sorted(map(_number, columns)))))

    def held(self) -> Iterator[Held]:
        """Return all sets that were ever seen to hold."""
        for (node, numbers), verdict in self._verdicts.items():
            if verdict.holds:
                yield Held(node, tuple(self._columns[number] for number in numbers), verdict)

    def _settle(self, node: int, columns: list[Column]) -> Verdict:
        outcome = settle(self.nodes[node], self.picks(columns))
        if isinstance(outcome, Conflict) or not columns:
            return Verdict(outcome)
        known = {id(column.choice): column.group for column in columns}
        parts = [
            _parts(known[id(load.choice)])
            if load.choice is load.pick.choice
            else self.judge(load.pick.deployment, load.choice)
            for load in outcome.loads
        ]
        worth, cpu, points, moved = (sum(part) for part in zip(*parts, strict=True))
        return Verdict(outcome, worth, cpu, points, moved)

    def picks(self, columns: Iterable[Column]) -> list[Pick]:
        """Write columns as picks. Replicas count within a node here."""
        counted: dict[int, int] = {}
        made = []
        for column in columns:
            replica = counted.get(column.wanted, 0)
            counted[column.wanted] = replica + 1
            deployment = self.wanted[column.wanted]
            made.append(Pick(deployment=deployment, replica=replica, choice=column.choice))
        return made

    def judge(self, deployment: Deployment, choice: Choice) -> Parts:
        """Tell what a choice is worth as it came out."""
        cpu = choice.cpu_layers if spares_cpu(deployment) else 0
        moved = choice.download_bytes + choice.moved_bytes
        points = self.points(deployment, choice)
        return self.worth_of(deployment, points, cpu, moved), cpu, points, moved

    def points(self, deployment: Deployment, choice: Choice) -> int:
        """Tell a choice's satisfaction."""
        return satisfaction(deployment, choice, fastest=self.fastest[self.numbers[deployment]])

    @cached_property
    def numbers(self) -> dict[Deployment, int]:
        """Deployments by their identity."""
        return {each: number for number, each in enumerate(self.wanted)}

    def places(self, wanted: int) -> int:
        """Tell on how many instances a deployment could be served at once."""
        members = [each for group in self.groups[wanted] for each in group.profile.members]
        return min(self.wanted[wanted].replicas, len({each.instance for each in members}))

    @cached_property
    def users(self) -> dict[str, set[int]]:
        """Which deployments could be served with each file."""
        found: dict[str, set[int]] = {}
        for number, groups in enumerate(self.groups):
            for group in groups:
                found.setdefault(group.file, set()).add(number)
        return found

    @cached_property
    def files(self) -> list[frozenset[str]]:
        """What each deployment could be served with."""
        return [frozenset(group.file for group in groups) for groups in self.groups]

    @property
    def column_count(self) -> int:
        """How many columns there are."""
        return self._count

    @cached_property
    def node_devices(self) -> list[tuple[str, ...]]:
        """The GPUs of each node."""
        return [tuple(f"{node.name}/{card.index}" for card in node.cards) for node in self.nodes]

    @cached_property
    def rooms(self) -> dict[str, int]:
        """What planned models may take of each GPU."""
        return {
            f"{node.name}/{card.index}": card.room_bytes
            for node in self.nodes
            for card in node.cards
        }

    @cached_property
    def rules(self) -> dict[str, Rules]:
        """What each instance does."""
        return {each.name: rules_of(each) for node in self.nodes for each in node.instances}

    def _places_of(self, members: tuple[Member, ...]) -> tuple[Place, ...]:
        found = self._places.get(id(members))
        if found is None:
            found = self._places[id(members)] = tuple(map(self._place, members))
        return found

    def _place(self, member: Member) -> Place:
        devices = tuple(f"{member.node}/{gpu}" for gpu in member.gpus) or (NOWHERE,)
        return Place(self.node_numbers[member.node], devices[0], devices[1:])

    def runner(self, group: Group, position: int) -> tuple[str, str]:
        """Tell which runner would serve a group's column."""
        return group.profile.members[position].instance, group.file

    def known(self, number: int) -> Column:
        """Return a column that was made before."""
        return self._columns[number]
