"""The options that optimisers and schedules were built with, which a resumed run follows where those of its state differ."""

import inspect
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch

from frex.options.convert import is_same

# Entry of an optimiser's groups that comes from an option -> key of that option.
FROM_OPTIONS = {'type': 'type', 'initial_lr': 'lr', 'betas': 'betas', 'weight_decay': 'weight_decay'}
# torch's own note of the type, which reading a state changes.
NOTE_OF_TYPE = 'decoupled_weight_decay'
# How far a schedule has come.
PROGRESS = ('last_epoch', '_step_count')


class BuiltOptions:
    """The options that one optimiser and its schedule, one of BasicSR's, were built with.

    Create it before the optimiser and the schedule load the state of an older run, and call `follow` after that.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        self.optimizer = optimizer
        self.schedule = schedule
        self.groups = [{name: group[name] for name in (*FROM_OPTIONS, NOTE_OF_TYPE) if name in group} for group in optimizer.param_groups]
        self.attributes = dict(vars(schedule))

    def follow(self, schedule_state: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Replace the options that came with the loaded state by these; return what differs: name -> (value in the state, value now).

        The learning rates become those that a run with these options would have at the state's iteration. `schedule_state` is the
        schedule's part of the loaded state. Where nothing differs nothing is changed.
        """
        changes = self._follow_groups()
        own = [name for name in inspect.signature(type(self.schedule)).parameters if name in self.attributes]
        names = [name for name in own if name not in ('optimizer', 'last_epoch')]
        pairs = {name: (to_plain(schedule_state.get(name)), to_plain(self.attributes[name])) for name in names}
        of_schedule = {name: pair for name, pair in pairs.items() if not is_same(*pair)}
        if of_schedule or any(name.startswith('lr') for name in changes):
            self._restart_schedule(schedule_state)
        return changes | of_schedule

    def _follow_groups(self) -> dict[str, tuple[Any, Any]]:
        """Replace the options of the optimiser's parameter groups, and return what differs as `follow` does.

        A name ends in the number of its group, except for the first group and for a change that is the same as in the first.
        """
        changes: dict[str, tuple[Any, Any]] = {}
        for number, (group, built) in enumerate(zip(self.optimizer.param_groups, self.groups, strict=True), 1):
            # What an older state does not say is taken to be the same.
            differing = [name for name in FROM_OPTIONS if name in group and not is_same(group[name], built[name])]
            for name in differing:
                title, pair = FROM_OPTIONS[name], (group[name], built[name])
                if changes.get(title) != pair:
                    changes[title if number == 1 else f'{title} of group {number}'] = pair
            group.update({name: value for name, value in built.items() if name in (*differing, 'type', NOTE_OF_TYPE)})
        return changes

    def _restart_schedule(self, state: Mapping[str, Any]) -> None:
        """Reset the schedule to the attributes that it was built with, at the step of `state`, and set the learning rates of that step."""
        vars(self.schedule).clear()
        vars(self.schedule).update(self.attributes | {name: state[name] for name in PROGRESS if name in state})
        groups, now = self.optimizer.param_groups, self.schedule.last_epoch
        for group in groups:
            group['lr'] = group['initial_lr']
        # BasicSR's schedules change the rates at these steps only, or have a formula for each step.
        events = {*getattr(self.schedule, 'milestones', ()), *getattr(self.schedule, 'restarts', ())}
        for step in sorted({event for event in events if event < now} | {now}):
            self.schedule.last_epoch = step
            for group, rate in zip(groups, self.schedule.get_lr(), strict=True):
                group['lr'] = rate


def to_plain(value: Any) -> Any:
    """Return the elements of a counter, in which BasicSR keeps milestones, in a list; other values as they are."""
    return sorted(value.elements()) if isinstance(value, Counter) else value
