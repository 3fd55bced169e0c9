"""Run a prepared search: encode what is shared, set up the plan, and let the engine work.

Between `prepare`, which checks, and the command line, which shows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch

from ..spaces.configs import Config, HeadConfig, Mode, backbone_label
from ..spaces.record import Footprint, Outcome, Replicate, State
from ..stores import secrets_hidden
from ..trainables.assignment import Materials
from ..trainables.card.cap import TooLargeError
from ..trainables.card.cards import Card
from ..trainables.card.footprint import BackboneShape, Footprinter, Workload
from ..trainables.models.backbones import folders_of, load_config
from ..trainables.notes.backbone_tokens import encode_backbone_tokens
from ..trainables.notes.cache import cache_dir, read_meta
from ..trainables.notes.corpus import Corpus
from ..trainables.notes.features import token_lengths
from ..trainables.notes.portion import portion
from ..trainables.notes.split import Array, Part
from ..trainables.notes.tokens import encode_tokens
from ..trainables.training.batches import Ragged
from .encoding import Work, encode_backbones
from .executor.courier import Courier, Sign, clear_nodes, is_on_network, keep, study_key
from .executor.engine import engine, look_around
from .executor.nodes import Nodes
from .executor.ray import Hooks, run_plan
from .forget import tell_needs
from .launch import Prepared, elapsed_clock
from .layout import Layout, LayoutError, Node, lay_out
from .plan import KEPT_WEIGHTS, Plan, Watcher
from .replicates import Replicates
from .rungs import study_rungs
from .sampling import Proposer
from .side_by_side import Encoded, about
from .space_checks import drawn_modes
from .telling import telling_by_type

Measure = Callable[[Config], Footprint | None]
LARGE_STATES = {Mode.LAST_K, Mode.FULL}  # hundreds of megabytes an epoch


@dataclass(frozen=True, slots=True)
class Encoding:
    """One backbone's encoding of the corpus, as it is shown."""

    backbone: str
    tokens: int
    made: bool  # just now; False: it was there


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What the command line wants to be told."""

    watcher: Watcher
    on_encoding: Callable[[str, int, int], None]  # backbone, tokens done, tokens in all
    on_encoded: Callable[[Encoding], None]
    on_plan: Callable[[Plan, Layout], None]
    on_tick: Callable[[], None]
    on_wait: Callable[[str], None] = lambda _: None  # for what memory; "": no longer
    on_layout: Callable[[Layout], None] = lambda _: None  # nodes have joined or gone
    on_warning: Callable[[str], None] = lambda _: None  # of what the search does without


@dataclass(frozen=True, slots=True)
class Shared:
    """What the encoding leaves to the trials."""

    materials: Materials
    footprint: Measure
    too_large: Mapping[str, TooLargeError]  # backbones that could not be encoded with
    footprint_of: Callable[[Replicate], Measure]  # on what a confirming trial learns from

    def known_end(self, config: Config) -> Outcome | None:
        """Of a head on the features of a backbone that could not make them."""
        if not isinstance(config, HeadConfig) or config.mode is not Mode.FROZEN:
            return None
        error = self.too_large.get(config.backbone)
        if error is None:
            return None
        return Outcome(
            state=State.INFEASIBLE,
            reason=f"{error} (encoding the notes with its backbone)",
            excess_bytes=error.excess_bytes,
        )


def run_search(prepared: Prepared, show: Show) -> Plan:
    """Encode, plan and run; the study is closed at the end, whatever happens.

    Raises:
        SpaceError: the space's own function failed in the middle of the search.
        BackboneError: a backbone's files have changed since they were checked.
        ShortOfMemoryError: others left too little memory for the encoding.
        EncodingError: a process that encoded was killed, or failed otherwise.
        KeyboardInterrupt: Ctrl-C; the study can be continued.
        EngineError: Ray could not be started or reached.
        LayoutError: the nodes cannot run what was asked for.
        StoreError: the store is gone, or another process has taken up the study.
        OSError: a disk is full, or cannot be written or read.
    """
    study, request = prepared.study, prepared.request
    sign: Sign | None = None
    try:
        study.on_outage(show.on_warning)
        tell_needs(study, prepared.corpus, request.notes)
        if request.address or is_on_network(study.folder):  # else all is on this machine's disks
            sign = Sign.put_up(study.folder)
        machine = look_around()
        # Ray comes up first, so that trials begin as soon as the features exist.
        with (
            secrets_hidden(),
            engine(
                cpus=machine.cpus,
                gpus=machine.gpus,
                address=request.address,
                shared_bytes=sum(len(text) * 4 for text in prepared.corpus.texts),
                allow_open=request.allow_open,
            ),
        ):
            elapsed_hours = elapsed_clock()  # the encoding is part of a budget of wall hours
            nodes = Nodes(sign if request.address else None)
            if machine.gpus or request.address:
                # The encoding on the same device would disturb the measurement.
                _require_shared_states(prepared, nodes.wait())
            shared = _encode(prepared, show)
            layout = _lay_out(prepared, nodes.wait())
            for warning in nodes.take_warnings():
                show.on_warning(warning)
            plan = _plan(prepared, shared, show, elapsed_hours)
            show.on_plan(plan, layout)
            try:
                run_plan(
                    plan,
                    prepared.corpus,
                    shared.materials,
                    layout=layout,
                    nodes=nodes,
                    limit=request.slots,
                    together=request.together,
                    courier=_courier(prepared, shared, sign) if sign else None,
                    started_here=not request.address,
                    lay_out=lambda new: _lay_out_more(prepared, layout, new),
                    hooks=Hooks(
                        on_tick=show.on_tick,
                        on_wait=show.on_wait,
                        on_layout=show.on_layout,
                        on_warning=show.on_warning,
                    ),
                )
            finally:
                plan.close()
                if request.address:
                    distant = [node.id for node in nodes.known() if not node.sees_study]
                    clear_nodes(study_key(study.folder), distant)
        return plan
    finally:
        if sign:
            sign.take_down()
        study.close()


def _courier(prepared: Prepared, shared: Shared, sign: Sign) -> Courier:
    """What brings the materials to the nodes."""
    return Courier(
        sign=sign,
        study=study_key(prepared.study.folder),
        keeper=keep(prepared.states, shared.materials) if prepared.request.address else None,
        states_are_shared=bool(prepared.settings.checkpoints),
    )


def _require_shared_states(prepared: Prepared, nodes: Sequence[Node]) -> None:
    """Refuse nodes from which the states of trained backbones could not be kept.

    Raises:
        LayoutError: there are such nodes.
    """
    distant = dict.fromkeys(node.host for node in nodes if not node.sees_study)
    if not distant or prepared.settings.checkpoints:
        return
    if large := drawn_modes(prepared.space) & LARGE_STATES:
        raise LayoutError(
            f"the states of trials in mode {', '.join(sorted(large))} are too large to travel "
            f"from {', '.join(distant)} to this machine: give --checkpoints a folder that all "
            "nodes share or an fsspec URL, or keep the --store in such a folder"
        )


def _lay_out(prepared: Prepared, nodes: list[Node]) -> Layout:
    """The layout that this search asks for."""
    request = prepared.request
    layout = lay_out(
        nodes,
        prepared.card,
        limit=request.slots,
        mps=request.mps,
        use_gpus=prepared.settings.space != "baselines",
    )
    if prepared.budget.gpu_hours is not None and not layout.on_gpus:
        raise LayoutError("--gpu-hours needs a GPU to measure: no node has one, use --wall-hours")
    return layout


def _lay_out_more(prepared: Prepared, before: Layout, new: list[Node]) -> Layout:
    """Of nodes that join a running search; its trials stay on the same kind of device."""
    try:
        _require_shared_states(prepared, new)
        added = _lay_out(prepared, new)
    except LayoutError:
        return Layout(())
    return added if added.on_gpus == before.on_gpus else Layout(())


def _plan(
    prepared: Prepared, shared: Shared, show: Show, elapsed_hours: Callable[[], float]
) -> Plan:
    settings, study = prepared.settings, prepared.study
    single = len(settings.objective) == 1  # with two, F1 alone must not end a cheap trial
    if prepared.wanted:
        proposer = Replicates(prepared.wanted, study.trials, shared.footprint_of)
    else:
        proposer = Proposer(
            prepared.space,
            sampler=settings.sampler,
            seed=settings.seed,
            objective=settings.objective,
            trials=study.trials,
            values=study.values,
        )
    return Plan(
        study,
        proposer,
        shared.footprint,
        study_rungs(settings.max_epochs, wanted=settings.rungs and single),
        prepared.budget,
        seed=settings.seed,
        elapsed_hours=elapsed_hours,
        watcher=show.watcher,
        states=prepared.states,
        known_end=shared.known_end,
        kept_weights=0 if prepared.wanted else KEPT_WEIGHTS,
        wanted=prepared.wanted,
    )


def _encode(prepared: Prepared, show: Show) -> Shared:
    """Encode the corpus once a backbone, and make ready what tells a config's footprint."""
    settings, corpus, card = prepared.settings, prepared.corpus, prepared.card
    confidential, modes = cache_dir(prepared.work), prepared.space.modes
    lengths = {}
    for name in settings.backbones:
        with telling_by_type(about(name)):
            lengths[name] = token_lengths(corpus, name, settings.max_tokens)
    footprinter = _footprinter(prepared, prepared.corpus, card, lengths) if card else None
    tokens = {}
    for name in settings.backbones if modes != {Mode.FROZEN} else ():
        with telling_by_type(about(name)):
            tokens[name] = encode_backbone_tokens(
                corpus, name, confidential, max_tokens=settings.max_tokens
            ).resolve()
    frozen = lengths if Mode.FROZEN in modes else {}
    if footprinter and card:  # the heads of those that do not fit by themselves are infeasible
        frozen = {
            name: tokens_of
            for name, tokens_of in frozen.items()
            if footprinter.encoding_peak_bytes(name) <= card.limit_bytes
        }
    encoded = _features(prepared, frozen, show)
    materials = Materials(
        settings=settings.training,
        states=prepared.states,
        cache=confidential.resolve(),
        features={n: e[0].resolve() for n, e in encoded.items() if isinstance(e, tuple)},
        tokens=tokens,
        folders=folders_of(settings.backbones),
        limit_bytes=card.limit_bytes if card else None,
        seed=settings.seed,
    )

    @cache
    def footprint_on(share: float, with_validation: bool) -> Measure:
        learned = portion(corpus, share=share, with_validation=with_validation, seed=settings.seed)
        return _footprinter(prepared, learned, card, lengths) if card else _no_footprint

    def footprint_of(again: Replicate) -> Measure:
        return footprint_on(again.train_fraction, again.with_validation)

    too_large = {n: e for n, e in encoded.items() if isinstance(e, TooLargeError)}
    return Shared(materials, footprinter or _no_footprint, too_large, footprint_of)


def _footprinter(
    prepared: Prepared, corpus: Corpus, card: Card, lengths: Mapping[str, Array]
) -> Footprinter:
    """What the card would need for a config on this corpus."""
    settings = prepared.settings
    confidential = cache_dir(prepared.work)
    training, validation = corpus.indices(Part.TRAIN), corpus.indices(Part.VALIDATION)

    @cache
    def scratch_workload(vocabulary: int) -> tuple[Workload, int]:
        with telling_by_type("making the sub-words of the scratch models"):
            folder = encode_tokens(
                corpus,
                confidential,
                vocabulary=vocabulary,
                max_tokens=settings.max_tokens,
                min_document_frequency=settings.min_document_frequency,
            )
        own_lengths = Ragged.open(folder).lengths
        size = cast("int", read_meta(folder)["vocabulary"])
        return Workload(own_lengths, training, validation), size

    return Footprinter(
        card,
        classes=len(corpus.label_names),
        max_tokens=settings.max_tokens,
        batch_limit=settings.batch_limit,
        backbones={name: BackboneShape.of(name, load_config(name)) for name in lengths},
        backbone_workloads={
            name: Workload(tokens, training, validation) for name, tokens in lengths.items()
        },
        scratch_workload=scratch_workload,
    )


def _features(
    prepared: Prepared, lengths: Mapping[str, Array], show: Show
) -> Mapping[str, Encoded]:
    """Encode with these backbones, and tell of each end."""
    card = prepared.card

    def on_end(name: str, encoded: Encoded) -> None:
        if isinstance(encoded, TooLargeError):
            show.on_warning(
                f"the notes cannot be encoded with {backbone_label(name)} ({encoded}): its heads "
                "are infeasible while it is frozen, and the search goes on without them"
            )
            return
        folder, made = encoded
        show.on_encoded(Encoding(name, cast("int", read_meta(folder)["tokens"]), made))

    work = Work(
        prepared.corpus,
        cache_dir(prepared.work),
        max_tokens=prepared.settings.max_tokens,
        precision=prepared.precision,
        limit_bytes=card.limit_bytes if card else None,
    )
    encoded = encode_backbones(work, lengths, on_progress=show.on_encoding, on_end=on_end)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # the trials need what the encoding held
    return encoded


def _no_footprint(config: Config) -> Footprint | None:
    """Without a card nothing is modelled."""
    del config
    return None
