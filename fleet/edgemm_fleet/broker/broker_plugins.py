"""The rules of a fleet as plugins of amqtt: who may log in, and who may use which topic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from edgemm_fleet.broker.topic_rights import BrokerRules, TopicRight


class FleetLogin(BaseAuthPlugin):  # type: ignore[misc]  # amqtt ships no types
    """Lets in whom the rules admit; also refuses a will that speaks for somebody else."""

    @dataclass
    class Config:
        """What amqtt hands to the plugin: `BrokerRules`."""

        rules: Any

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._rules: BrokerRules = self.config.rules

    async def authenticate(self, *, session: Session) -> bool:
        """Tell whether a client may connect; amqtt checks no topic of a will itself."""
        if session.will_flag and not self._rules.allows(session.username, TopicRight.PUBLISH, session.will_topic):
            return False
        return self._rules.admits(session.client_id, session.username, session.password)


class FleetTopics(BaseTopicPlugin):  # type: ignore[misc]
    """Keeps every client to its own topics."""

    @dataclass
    class Config:
        """What amqtt hands to the plugin: `BrokerRules`."""

        rules: Any

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._rules: BrokerRules = self.config.rules

    async def topic_filtering(self, *, session: Session, topic: str, action: Action) -> bool:
        """Tell whether a client may do this with a topic."""
        return self._rules.allows(session.username, TopicRight(str(action.value)), topic)
