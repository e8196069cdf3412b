-- A store as migration 2 left it, with one answer and two batches: one that the provider has, one
-- that it was just asked to take. Never edited: later code must read it.
CREATE TABLE harness_migrations (name TEXT PRIMARY KEY, applied INTEGER NOT NULL, version TEXT NOT NULL);
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    prompt INTEGER NOT NULL,
    created INTEGER NOT NULL,
    latency_s REAL NOT NULL,
    cost INTEGER,
    version TEXT NOT NULL,
    response BLOB NOT NULL,
    request BLOB NOT NULL
);
CREATE UNIQUE INDEX answers_key ON answers (key, created);
CREATE INDEX answers_prompt ON answers (prompt);
CREATE TABLE batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    nonce TEXT NOT NULL,
    remote TEXT,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    url TEXT NOT NULL,
    base_url TEXT NOT NULL,
    api_version TEXT,
    api_key_env TEXT NOT NULL,
    created INTEGER NOT NULL,
    touched INTEGER NOT NULL,
    owner TEXT NOT NULL,
    status TEXT NOT NULL,
    requests INTEGER NOT NULL,
    done INTEGER,
    failed INTEGER
);
CREATE TABLE batch_claims (
    key BLOB PRIMARY KEY,
    batch INTEGER NOT NULL,
    worst INTEGER
) WITHOUT ROWID;
CREATE INDEX batch_claims_batch ON batch_claims (batch);
INSERT INTO harness_migrations VALUES ('m001_answers', 1767225600000000, '0.1.0');
INSERT INTO harness_migrations VALUES ('m002_batches', 1767225600000000, '0.1.0');
INSERT INTO answers VALUES (
    1,
    x'190c2732dcecb88383ee8349c65997d7a3ecad61edb9cc17ad9d35d194b36bc2',
    'translation',
    'nllb-200',
    '',
    7971000644184221500,
    1767225600000002,
    0.125,
    0,
    '0.1.0',
    x'7b2274657874223a22476f6f64206d6f726e696e672e227d',
    x'7801ab564acd4bcfcc4b55b252cacbc94952d251cacd4f49cd8172758d0c0c8042c5f9a545c92025c5e589f13e89257940b192d48a12a0884762526251a64265a242627169526946a69e522d0071f61b2a'
);
INSERT INTO batches VALUES (
    1, '0123456789abcdef0123456789abcdef', 'batch_abc', 'openai', 'gpt-4o', '/v1/chat/completions',
    'https://api.openai.com/v1', NULL, 'OPENAI_API_KEY', 1767225600000000, 1767225601000000,
    'somewhere:4711', 'in_progress', 3, 1, 0
);
INSERT INTO batches VALUES (
    2, 'fedcba9876543210fedcba9876543210', NULL, 'openai', 'gpt-4o', '/v1/chat/completions',
    'https://api.openai.com/v1', NULL, 'OPENAI_API_KEY', 1767225602000000, 1767225603000000,
    'somewhere:4711', 'creating', 1, NULL, NULL
);
INSERT INTO batch_claims VALUES (x'28a9550cfb76ac4246824176f68a2156c2f4b828f12dba598b99075366fe7cf7', 1, 1500);
INSERT INTO batch_claims VALUES (x'1111111111111111111111111111111111111111111111111111111111111111', 1, 500);
INSERT INTO batch_claims VALUES (x'2222222222222222222222222222222222222222222222222222222222222222', 2, NULL);
