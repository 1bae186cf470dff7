"""The text of Mosquitto's configuration and access rules. Pure but for the name of the user who runs this."""

from __future__ import annotations

import os
import pwd

from edgemm import topics
from edgemm.messages import MAX_CONTROL_BYTES
from edgemm.transport.address import is_loopback
from edgemm_fleet.broker.broker_settings import BrokerSettings

TLS = "tls.pem"
"""The file with the certificate and its key."""
_MIB = 1024 * 1024
_MAX_QUEUED_MESSAGES = 4000
_MAX_QUEUED_BYTES = 32 * _MIB
_MAX_INFLIGHT_BYTES = 8 * _MIB
_MAX_TOPIC_BYTES = 1024
_MEMORY_BYTES, _DEVICE_BYTES = 256 * _MIB, 32 * 1024


def configuration(broker: BrokerSettings, *, devices: int) -> str:
    """Return the main file of a broker for so many devices, which names the others."""
    place = broker.mosquitto
    assert place is not None, "the mosquitto provider needs its folder"
    lines = [
        "per_listener_settings false",
        "allow_anonymous false",
        f"password_file {place.folder / 'passwords'}",
        f"acl_file {place.folder / 'acl'}",
        # A device that queues or holds back messages keeps its own spool; the defaults of 20 and 1,000 lose
        # some of a manager's burst to itself. What is queued beyond these is dropped: devices send it again, as
        # nothing of it was acknowledged. The number alone bounds messages of QoS 0, so it is no larger.
        "max_inflight_messages 1000",
        f"max_inflight_bytes {_MAX_INFLIGHT_BYTES}",
        f"max_queued_messages {_MAX_QUEUED_MESSAGES}",
        f"max_queued_bytes {_MAX_QUEUED_BYTES}",
        # No message of this fleet is larger; without it Mosquitto would take 256 MB from whoever has logged in,
        # and without the other one it would read them first.
        f"message_size_limit {MAX_CONTROL_BYTES}",
        f"max_packet_size {MAX_CONTROL_BYTES + _MAX_TOPIC_BYTES}",
        # Subscriptions and retained messages have no bound of their own: who asks for more is disconnected.
        f"memory_limit {_MEMORY_BYTES + devices * _DEVICE_BYTES}",
        "persistent_client_expiration 1d",
        # Who comes and goes would fill the log; refused logins and thrown out clients are told with them.
        "connection_messages false",
        # Small messages are not held back to be sent with others.
        "set_tcp_nodelay true",
        "persistence false",
        # Started by root, it becomes this user, who can read the files; otherwise the line has no effect.
        f"user {pwd.getpwuid(os.geteuid()).pw_name}",
        f"listener {broker.number}{_listens_at(broker)}",
        # Nobody takes over another's connection by claiming its client id.
        "use_username_as_clientid true",
    ]
    if broker.shown_files is not None:
        lines += [f"certfile {place.folder / TLS}", f"keyfile {place.folder / TLS}"]
    if place.pid_file is not None:
        lines.append(f"pid_file {place.pid_file}")
    return "\n".join(lines) + "\n"


def _listens_at(broker: BrokerSettings) -> str:
    """A public name may lead to this machine's loopback here, or to a router: who has one is to be reached."""
    return f" {broker.host}" if not broker.encrypted or is_loopback(broker.host) else ""


def acl(fleet: str, *, manager: str) -> str:
    """Return the ACL file of a fleet: a device writes and reads under its own user name only."""
    base = f"{topics.ROOT}/{fleet}"
    lines = [f"user {manager}", f"topic readwrite {base}/#", ""]
    for access, channels in (("write", topics.FROM_DEVICE), ("read", topics.FROM_FLEET)):
        lines += [f"pattern {access} {base}/+/%u/{channel}" for channel in sorted(channels)]
    return "\n".join(lines) + "\n"
