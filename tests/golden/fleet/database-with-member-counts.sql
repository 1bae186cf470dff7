CREATE TABLE actions (
	id VARCHAR NOT NULL, 
	device VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	model VARCHAR, 
	created_at FLOAT NOT NULL, 
	done_at FLOAT, 
	ok BOOLEAN, 
	detail TEXT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(device) REFERENCES devices (id)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0021');
CREATE TABLE assignments (
	device VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	desired_json TEXT NOT NULL, 
	PRIMARY KEY (device, model), 
	FOREIGN KEY(device) REFERENCES devices (id)
);
CREATE TABLE attempts (
	device VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	attempt INTEGER NOT NULL, 
	spent BOOLEAN NOT NULL, 
	PRIMARY KEY (device, model, digest)
);
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	actor VARCHAR NOT NULL, 
	action VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	detail TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE blobs (
	digest VARCHAR NOT NULL, 
	size_bytes INTEGER NOT NULL, 
	added_at FLOAT NOT NULL, 
	PRIMARY KEY (digest)
);
CREATE TABLE desired (
	device VARCHAR NOT NULL, 
	generation BIGINT NOT NULL, 
	desired_json TEXT NOT NULL, 
	expires_at FLOAT NOT NULL, 
	unsent BOOLEAN NOT NULL, 
	sent_at FLOAT, 
	content_hash VARCHAR, 
	tries INTEGER DEFAULT '0' NOT NULL, 
	again_at FLOAT, 
	refusal_json TEXT, 
	PRIMARY KEY (device), 
	FOREIGN KEY(device) REFERENCES devices (id)
);
CREATE TABLE device_facts (
	fact INTEGER NOT NULL, 
	device VARCHAR NOT NULL, 
	PRIMARY KEY (fact, device)
)
 WITHOUT ROWID

;
CREATE TABLE devices (
	id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	labels_json TEXT NOT NULL, 
	key_json TEXT NOT NULL, 
	key_id VARCHAR NOT NULL, 
	token_id VARCHAR NOT NULL, 
	bearer_hash VARCHAR NOT NULL, 
	broker_hash VARCHAR NOT NULL, 
	runtime VARCHAR NOT NULL, 
	platform VARCHAR NOT NULL, 
	enrolled_at FLOAT NOT NULL, 
	removed_at FLOAT, 
	online BOOLEAN NOT NULL, 
	boot VARCHAR, 
	boot_count BIGINT NOT NULL, 
	connection INTEGER NOT NULL, 
	last_seen_at FLOAT, 
	duplicate_at FLOAT, 
	previous_boot VARCHAR, 
	previous_connection INTEGER NOT NULL, 
	doubted_at FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (bearer_hash)
);
CREATE TABLE enrolment_tokens (
	id VARCHAR NOT NULL, 
	secret_hash VARCHAR NOT NULL, 
	labels_json TEXT NOT NULL, 
	uses_allowed INTEGER, 
	uses INTEGER NOT NULL, 
	created_by VARCHAR NOT NULL, 
	created_at FLOAT NOT NULL, 
	expires_at FLOAT NOT NULL, 
	revoked_at FLOAT, 
	root_version INTEGER DEFAULT '1' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (secret_hash)
);
CREATE TABLE events (
	id INTEGER NOT NULL, 
	device VARCHAR NOT NULL, 
	boot VARCHAR NOT NULL, 
	sequence INTEGER NOT NULL, 
	model VARCHAR, 
	rollout VARCHAR, 
	event_json TEXT NOT NULL, 
	received_at FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE facts (
	fact INTEGER NOT NULL, 
	subject VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	rank VARCHAR, 
	PRIMARY KEY (fact)
);
CREATE TABLE history_parts (
	kind VARCHAR NOT NULL, 
	number INTEGER NOT NULL, 
	begun_at FLOAT NOT NULL, 
	newest_at FLOAT NOT NULL, 
	rows INTEGER NOT NULL, 
	next_id BIGINT NOT NULL, 
	PRIMARY KEY (kind, number)
);
CREATE TABLE latest (
	device VARCHAR NOT NULL, 
	boot VARCHAR NOT NULL, 
	id BIGINT NOT NULL, 
	sequence INTEGER NOT NULL, 
	window BLOB NOT NULL, 
	received_at FLOAT NOT NULL, 
	PRIMARY KEY (device, boot)
);
CREATE TABLE member_counts (
	rollout VARCHAR NOT NULL, 
	"group" INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	met BOOLEAN NOT NULL, 
	number INTEGER NOT NULL, 
	PRIMARY KEY (rollout, "group", state, met), 
	FOREIGN KEY(rollout) REFERENCES rollouts (id)
);
CREATE TABLE members (
	rollout VARCHAR NOT NULL, 
	device VARCHAR NOT NULL, 
	"group" INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	attempt INTEGER NOT NULL, 
	generation BIGINT NOT NULL, 
	previous_json TEXT NOT NULL, 
	started_at FLOAT NOT NULL, 
	changed_at FLOAT NOT NULL, 
	deadline_at FLOAT, 
	update_state VARCHAR, 
	reason VARCHAR, 
	detail TEXT, 
	PRIMARY KEY (rollout, device), 
	FOREIGN KEY(rollout) REFERENCES rollouts (id)
);
CREATE TABLE meta (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema_version','2');
CREATE TABLE models (
	name VARCHAR NOT NULL, 
	publisher_json TEXT NOT NULL, 
	minimum_version VARCHAR, 
	created_at FLOAT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE person_tokens (
	id VARCHAR NOT NULL, 
	person VARCHAR NOT NULL, 
	role VARCHAR NOT NULL, 
	token_hash VARCHAR NOT NULL, 
	created_at FLOAT NOT NULL, 
	expires_at FLOAT NOT NULL, 
	revoked_at FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (token_hash)
);
CREATE TABLE positions (
	device VARCHAR NOT NULL, 
	boot VARCHAR NOT NULL, 
	stream VARCHAR NOT NULL, 
	contiguous INTEGER NOT NULL, 
	highest INTEGER NOT NULL, 
	above BLOB, 
	PRIMARY KEY (device, boot, stream)
);
CREATE TABLE reported (
	device VARCHAR NOT NULL, 
	boot_count BIGINT NOT NULL, 
	sequence INTEGER NOT NULL, 
	generation BIGINT NOT NULL, 
	highest_generation BIGINT NOT NULL, 
	reported_json TEXT NOT NULL, 
	received_at FLOAT NOT NULL, 
	told_generation BIGINT DEFAULT '0' NOT NULL, 
	since_generation BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (device), 
	FOREIGN KEY(device) REFERENCES devices (id)
);
CREATE TABLE rollouts (
	number INTEGER NOT NULL, 
	id VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	plan_json TEXT NOT NULL, 
	state VARCHAR NOT NULL, 
	reason TEXT, 
	created_by VARCHAR NOT NULL, 
	created_at FLOAT NOT NULL, 
	changed_at FLOAT NOT NULL, 
	deadline_at FLOAT, 
	groups_json TEXT NOT NULL, 
	trouble TEXT, 
	waiting_json TEXT, 
	taken_back VARCHAR, 
	PRIMARY KEY (number), 
	UNIQUE (id)
);
CREATE TABLE shadows (
	device VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	shadow_json TEXT NOT NULL, 
	PRIMARY KEY (device, model), 
	FOREIGN KEY(device) REFERENCES devices (id)
);
CREATE TABLE telemetry (
	id INTEGER NOT NULL, 
	device VARCHAR NOT NULL, 
	boot VARCHAR NOT NULL, 
	sequence INTEGER NOT NULL, 
	window BLOB NOT NULL, 
	received_at FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE version_blobs (
	model VARCHAR NOT NULL, 
	version VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	PRIMARY KEY (model, version, digest), 
	FOREIGN KEY(digest) REFERENCES blobs (digest)
);
CREATE TABLE versions (
	model VARCHAR NOT NULL, 
	version VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	size_bytes INTEGER NOT NULL, 
	published_by VARCHAR NOT NULL, 
	published_at FLOAT NOT NULL, 
	withdrawn_at FLOAT, 
	PRIMARY KEY (model, version), 
	FOREIGN KEY(model) REFERENCES models (name)
);
CREATE INDEX actions_open ON actions (device) WHERE done_at IS NULL;
CREATE INDEX desired_again ON desired (again_at) WHERE again_at IS NOT NULL;
CREATE INDEX desired_by_expiry ON desired (expires_at);
CREATE INDEX desired_refused ON desired (device) WHERE refusal_json IS NOT NULL;
CREATE INDEX desired_unsent ON desired (device) WHERE unsent;
CREATE INDEX device_facts_by_device ON device_facts (device);
CREATE INDEX devices_by_key ON devices (key_id);
CREATE INDEX devices_doubted ON devices (doubted_at) WHERE doubted_at IS NOT NULL;
CREATE INDEX devices_duplicate ON devices (id) WHERE duplicate_at IS NOT NULL AND removed_at IS NULL;
CREATE INDEX devices_live ON devices (id, removed_at) WHERE removed_at IS NULL;
CREATE INDEX devices_online ON devices (id, online, removed_at) WHERE online IS 1 AND removed_at IS NULL;
CREATE INDEX devices_seen ON devices (last_seen_at, id, removed_at) WHERE removed_at IS NULL;
CREATE INDEX events_by_device ON events (device, id);
CREATE INDEX facts_by_rank ON facts (subject, name, rank) WHERE rank IS NOT NULL;
CREATE INDEX members_by_device ON members (device);
CREATE INDEX members_by_state ON members (rollout, state, "group", device);
CREATE INDEX members_due ON members (deadline_at) WHERE deadline_at IS NOT NULL;
CREATE INDEX rollouts_by_state ON rollouts (state);
CREATE INDEX rollouts_taking_back ON rollouts (number) WHERE taken_back IS NOT NULL;
CREATE INDEX shadows_by_model ON shadows (model, device);
CREATE INDEX telemetry_by_device ON telemetry (device, id);
CREATE INDEX versions_by_digest ON versions (digest);
CREATE UNIQUE INDEX events_once ON events (device, boot, sequence);
CREATE UNIQUE INDEX facts_once ON facts (subject, name, value);
CREATE UNIQUE INDEX telemetry_once ON telemetry (device, boot, sequence);
PRAGMA user_version = 0;
