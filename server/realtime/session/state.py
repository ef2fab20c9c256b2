"""What the parts of one session share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from server.realtime.session.send_queue import SendQueue
from server.realtime.wire.session_config import SessionConfig
from server.voice_names import VoiceNames
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.ids import new_id
from step_audio.dialog.prompting.conversation import Conversation
from step_audio.dialog.tool_calls.background import BackgroundCalls


@dataclass(slots=True)
class SessionState:
    """One session's state.

    Attributes:
        assistant: the loaded parts, shared by all sessions.
        outlet: to the client.
        tasks: own everything that runs for this session.
        config: the settings as they are now; replaced as a whole.
        conversation: what was said.
        background_calls: tool calls under way.
        voices: what the names of voices mean here.
        spoken_s: seconds of each spoken question, by item id.
        speeds: how much faster than the model spoke an answer was sent, by item id.
        told: spoken items whose transcripts the client has, or is about to be sent.
        shown_words: what was shown of questions while they were spoken, by item id, until the
            whole transcript is.
    """

    assistant: Assistant
    send_queue: SendQueue
    tasks: asyncio.TaskGroup
    config: SessionConfig
    background_calls: BackgroundCalls
    voices: VoiceNames
    conversation: Conversation = field(default_factory=Conversation)
    conversation_id: str = field(default_factory=lambda: f"conv_{new_id()}")
    spoken_s: dict[str, float] = field(default_factory=dict)
    speeds: dict[str, float] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    shown_words: dict[str, str] = field(default_factory=dict)
