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
INSERT INTO "message" VALUES(3,'0123456789abcdef',4,'trace',1,X'80');
CREATE TABLE spooled (source TEXT PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('message',3);
PRAGMA user_version = 1;
