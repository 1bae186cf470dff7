"""The MQTT broker: an embedded one for new and small fleets, and credentials for whichever broker a fleet uses."""

from edgemm_fleet.broker.credentials import CredentialProvider, EmbeddedCredentials, StaticCredentials
from edgemm_fleet.broker.mosquitto import MosquittoCredentials, MosquittoFiles
from edgemm_fleet.broker.passwords import hash_password
from edgemm_fleet.broker.topic_rights import MANAGER, BrokerRules

__all__ = [
    "MANAGER",
    "BrokerRules",
    "CredentialProvider",
    "EmbeddedCredentials",
    "MosquittoCredentials",
    "MosquittoFiles",
    "StaticCredentials",
    "hash_password",
]
