"""The daemon's settings: one frozen dataclass for each section of its TOML file.

The docstring under a field is its comment in the default file (`service.config_file`), which
is made from these classes. Empty strings and lists mean "none". An `example` in a field's
metadata is shown where its default says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal

from asr.errors import ConfigError

from .config_fields import check, list_of, optional
from .endpointing import EndpointConfig
from .output_config import KeepAudioConfig, MetricsConfig, OutputsConfig

if TYPE_CHECKING:
    from .gate import GateRules



@dataclass(frozen=True)
class RecognitionConfig:
    """What is recognised and how."""

    model: str = ""
    """Folder of the model; empty: the one that comes with asrd."""
    decoder: str = ""
    """greedy, beam or lm; empty: the model's best."""
    hotwords: str = ""
    """File with phrases to prefer, one a line."""
    grammar: tuple[str, ...] = list_of(["home.yaml"])
    """Files with commands to understand (Home Assistant's sentences); empty: free speech."""
    names: tuple[str, ...] = list_of(["names.yaml"])
    """Files with more lists and rules for the grammar: names, areas."""
    threshold: float | None = optional(3.0)
    """How unlike a command speech may be and still count as it; 0 rejects all but the likeliest
    text. Without it, the model's."""
    threads: int = 1
    """CPU threads of the network."""

    def __post_init__(self) -> None:
        check(self.threads >= 1, "threads", "must be at least 1", self.threads)
        if self.threshold is not None:
            check(self.threshold >= 0, "threshold", "must not be negative", self.threshold)
        if not self.grammar and (self.names or self.threshold is not None):
            key = "names" if self.names else "threshold"
            raise ConfigError(f"{key} is of no use without a grammar", key)


Mode = Literal["snappy", "normal", "patient"]

ENDPOINT_MODES: dict[Mode, EndpointConfig] = {
    "snappy": EndpointConfig(silence_after_speech=0.5, max_utterance=15.0, hard_limit=20.0),
    "normal": EndpointConfig(silence_after_speech=0.62),
    "patient": EndpointConfig(silence_after_speech=1.6, max_utterance=60.0, hard_limit=70.0),
}


@dataclass(frozen=True)
class EndpointingConfig:
    """When an utterance is over. All values are seconds."""

    mode: Mode = "normal"
    """snappy, normal or patient: how long a pause may be. Each value below overrides the mode's."""
    silence_after_speech: float | None = optional(0.62)
    """Silence that ends an utterance with words."""
    silence_after_command: float | None = optional(0.15)
    """The same where a command is complete and none goes on like it."""
    silence_without_speech: float | None = optional(5.0)
    """Silence that ends one without."""
    max_utterance: float | None = optional(30.0)
    """Length from which on the next gap between words ends the utterance."""
    gap: float | None = optional(0.3)
    """Silence that counts as such a gap."""
    hard_limit: float | None = optional(35.0)
    """Length that ends an utterance wherever it is."""

    def __post_init__(self) -> None:
        self.rules()

    def rules(self) -> EndpointConfig:
        """The mode's rules with what is overridden. Raises ConfigError for a contradiction."""
        preset = ENDPOINT_MODES[self.mode]
        own = {rule.name: getattr(self, rule.name) for rule in fields(preset)}
        return EndpointConfig(
            **{name: getattr(preset, name) if v is None else v for name, v in own.items()}
        )


@dataclass(frozen=True)
class MicrophoneConfig:
    """A microphone. Repeat the section for more; `microphones = []` at the top: none."""

    name: str = "microphone"
    """What its transcripts are called; each microphone has another one."""
    device: str = ""
    """Name of the device or a part of it (`asrd devices` will list them); empty: the default."""

    def __post_init__(self) -> None:
        check(bool(self.name.strip()), "name", "must not be empty", self.name)


@dataclass(frozen=True)
class GateConfig:
    """Keeps the network idle while nobody speaks."""

    enabled: bool = True
    """false: the network hears everything, silence too."""
    pre_roll: float = 0.5
    """Seconds heard before speech was noticed, so that no first word is lost."""
    close_after: float = 3.0
    """Seconds without speech after which the network rests."""

    def __post_init__(self) -> None:
        check(0 <= self.pre_roll <= 5, "pre_roll", "must be from 0 to 5", self.pre_roll)
        check(0 < self.close_after <= 600, "close_after", "must be above 0 and at most 600",
               self.close_after)  # fmt: skip

    def rules(self) -> GateRules:
        """What a gate goes by."""
        from .gate import DETECTOR_RATE, DETECTOR_SAMPLES, GateRules

        # a detector judges so much at once: less would cut what it opened for
        shortest = DETECTOR_SAMPLES / DETECTOR_RATE
        return GateRules(
            pre_roll=max(self.pre_roll, shortest), close_after=self.close_after
        )


@dataclass(frozen=True)
class WakeConfig:
    """Commands count only after a wake phrase. Needs a grammar."""

    phrases: tuple[str, ...] = list_of(["computer"])
    """Any of these opens the ear; empty: commands always count."""
    seconds: float = 5.0
    """How long it stays open after the phrase."""

    def __post_init__(self) -> None:
        check(0 < self.seconds <= 300, "seconds", "must be above 0 and at most 300", self.seconds)
        for phrase in self.phrases:
            check(bool(phrase.strip()), "phrases", "must hold words", phrase)


@dataclass(frozen=True)
class LoggingConfig:
    """What is written to the log. Transcripts are, with debug only."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""


@dataclass(frozen=True)
class DaemonConfig:
    """All settings of the daemon."""

    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    endpointing: EndpointingConfig = field(default_factory=EndpointingConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    wake: WakeConfig = field(default_factory=WakeConfig)
    outputs: OutputsConfig = field(default_factory=OutputsConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    keep_audio: KeepAudioConfig = field(default_factory=KeepAudioConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    microphones: tuple[MicrophoneConfig, ...] = (MicrophoneConfig(),)

    def __post_init__(self) -> None:
        names: set[str] = set()
        for i, microphone in enumerate(self.microphones):
            if microphone.name in names:
                raise ConfigError(
                    f"two microphones are called {microphone.name!r}", f"microphones[{i}].name"
                )
            names.add(microphone.name)
        if self.wake.phrases and not self.recognition.grammar:
            raise ConfigError("a wake phrase needs recognition.grammar", "wake.phrases")
        command = self.outputs.command
        if command.run and command.only == "understood" and not self.recognition.grammar:
            raise ConfigError(
                "without recognition.grammar nothing is understood", "outputs.command.only"
            )
