CREATE TABLE budget (id INTEGER PRIMARY KEY, left_bytes INTEGER, as_of_s REAL);
INSERT INTO "budget" VALUES(1,4000000,86400.25);
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    boot TEXT NOT NULL,
    boot_count INTEGER NOT NULL,
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (boot, stream, sequence)
);
INSERT INTO "message" VALUES(1,'0123456789abcdef',4,'event',1,X'7B7D');
INSERT INTO "message" VALUES(2,'0123456789abcdef',4,'telemetry',1,X'80');
CREATE TABLE spooled (source TEXT PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('message',2);
PRAGMA user_version = 1;
