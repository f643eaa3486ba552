BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE annotator (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	pseudonym VARCHAR(200) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	created VARCHAR(40) NOT NULL, 
	CONSTRAINT pk_annotator PRIMARY KEY (id), 
	CONSTRAINT uq_annotator_project_id_pseudonym UNIQUE (project_id, pseudonym), 
	CONSTRAINT fk_annotator_project_id FOREIGN KEY(project_id) REFERENCES project (id)
);
INSERT INTO "annotator" VALUES(1,1,'ann','labeller','2026-11-30T22:46:11.249+00:00');
CREATE TABLE claim (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	item_id INTEGER NOT NULL, 
	annotator_id INTEGER NOT NULL, 
	slot INTEGER, 
	state VARCHAR(16) NOT NULL, 
	until FLOAT NOT NULL, 
	CONSTRAINT pk_claim PRIMARY KEY (id), 
	CONSTRAINT uq_claim_item_id_slot UNIQUE (item_id, slot), 
	CONSTRAINT uq_claim_item_id_annotator_id UNIQUE (item_id, annotator_id), 
	CONSTRAINT fk_claim_project_id FOREIGN KEY(project_id) REFERENCES project (id), 
	CONSTRAINT fk_claim_item_id FOREIGN KEY(item_id) REFERENCES item (id), 
	CONSTRAINT fk_claim_annotator_id FOREIGN KEY(annotator_id) REFERENCES annotator (id)
);
INSERT INTO "claim" VALUES(1,1,1,1,0,'done',0.0);
INSERT INTO "claim" VALUES(2,1,2,1,0,'done',0.0);
INSERT INTO "claim" VALUES(3,1,3,1,NULL,'skipped',0.0);
CREATE TABLE completion (
	id INTEGER NOT NULL, 
	prompt_id INTEGER NOT NULL, 
	"key" VARCHAR(32) NOT NULL, 
	policy TEXT NOT NULL, 
	weights TEXT NOT NULL, 
	seed BIGINT, 
	sampling TEXT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_completion PRIMARY KEY (id), 
	CONSTRAINT uq_completion_prompt_id_key UNIQUE (prompt_id, "key"), 
	CONSTRAINT fk_completion_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompt (id)
);
INSERT INTO "completion" VALUES(1,1,'bc55369e9cacb9ec93d1950850343536','runs/sft','',0,'{"temperature": 0.7}','{"text": "Good answer 0", "model": "runs/sft", "sampling": {"temperature": 0.7}, "seed": 0}');
INSERT INTO "completion" VALUES(2,1,'e6cf658be37cd4c3da91d296a26b0f11','runs/ppo','',NULL,'{}','{"text": "Bad answer 0", "model": "runs/ppo"}');
INSERT INTO "completion" VALUES(3,2,'aa804fa9f2f0477eb17e8d351c8cdc2e','runs/sft','',1,'{"temperature": 0.7}','{"text": "Good answer 1", "model": "runs/sft", "sampling": {"temperature": 0.7}, "seed": 1}');
INSERT INTO "completion" VALUES(4,2,'5d93c7488bce6c137d122289d3d262a9','runs/ppo','',NULL,'{}','{"text": "Bad answer 1", "model": "runs/ppo"}');
INSERT INTO "completion" VALUES(5,3,'967b1faae75e542e49512e427e37a880','runs/sft','',2,'{"temperature": 0.7}','{"text": "Good answer 2", "model": "runs/sft", "sampling": {"temperature": 0.7}, "seed": 2}');
INSERT INTO "completion" VALUES(6,3,'670d6564748c43a1e0d75bced369207e','runs/ppo','',NULL,'{}','{"text": "Bad answer 2", "model": "runs/ppo"}');
INSERT INTO "completion" VALUES(7,4,'76dedf91c163ce8832c3d6b61e4a3df1','runs/sft','',3,'{"temperature": 0.7}','{"text": "Good answer 3", "model": "runs/sft", "sampling": {"temperature": 0.7}, "seed": 3}');
INSERT INTO "completion" VALUES(8,4,'759b0dc10e4e54e291cf8f47c948ddfe','runs/ppo','',NULL,'{}','{"text": "Bad answer 3", "model": "runs/ppo"}');
CREATE TABLE draft (
	annotator_id INTEGER NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	text TEXT NOT NULL, 
	time VARCHAR(40) NOT NULL, 
	CONSTRAINT pk_draft PRIMARY KEY (annotator_id, "key"), 
	CONSTRAINT fk_draft_annotator_id FOREIGN KEY(annotator_id) REFERENCES annotator (id)
);
CREATE TABLE event (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	number BIGINT NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	item_id INTEGER, 
	annotator_id INTEGER, 
	name VARCHAR(200) NOT NULL, 
	refers BIGINT, 
	body TEXT NOT NULL, 
	recorded VARCHAR(40) NOT NULL, 
	"key" VARCHAR(128) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_event PRIMARY KEY (id), 
	CONSTRAINT uq_event_project_id_number UNIQUE (project_id, number), 
	CONSTRAINT uq_event_project_id_key UNIQUE (project_id, "key"), 
	CONSTRAINT fk_event_project_id FOREIGN KEY(project_id) REFERENCES project (id), 
	CONSTRAINT fk_event_item_id FOREIGN KEY(item_id) REFERENCES item (id), 
	CONSTRAINT fk_event_annotator_id FOREIGN KEY(annotator_id) REFERENCES annotator (id)
);
INSERT INTO "event" VALUES(1,1,1,'label',1,1,'',NULL,'{"preference": 1.0, "shown": "first", "metadata": {"seconds": 3.5}}','2026-11-30T22:46:11.287+00:00','key-0','eb9951de382bad561491f58033cd35efbfab543cb2891a071e21597a1b114897','524fdddbf8d4bf8937f24401fdfd5cbca28ff345244fa6f45c58a74654a1b760');
INSERT INTO "event" VALUES(2,1,2,'label',2,1,'',NULL,'{"preference": 1.0, "shown": "first", "metadata": {"seconds": 3.5}}','2026-11-30T22:46:11.307+00:00','key-1','696b71534f810e7e262d411ad4576fc19abc1f3cfd504bd5f68f9b0593fbb355','031f2c47c65c9cf8e3b6cd6ab770927fe8c92e443b9af6b9a8fab405e8626219');
INSERT INTO "event" VALUES(3,1,3,'undo',2,1,'',2,'{}','2026-11-30T22:46:11.328+00:00','key-undo','7e227692cbb2648b1d17e815b3d2b0c27631dfddcfa6ace422c63b87dfef4814','4678b5ee0ce296d7e238feb628749bb2399bb6da87018f8991b89ecc22fee42a');
INSERT INTO "event" VALUES(4,1,4,'label',2,1,'',NULL,'{"preference": 0.5, "both_bad": true}','2026-11-30T22:46:11.343+00:00','key-2','610853e21abc4a8d1c3b730049f0ccbce9b84b75304d8e53bc68c0d4465813ca','c534320c946104d19e2a55e2cb4377e97b96f40d2cdfa2c141b0ef8d03af1613');
INSERT INTO "event" VALUES(5,1,5,'skip',3,1,'',NULL,'{"reason": "too long"}','2026-11-30T22:46:11.359+00:00','key-3','9d7ff17306e314669eef616cff3df4813df1279461f2015c8ba45373b7d151b0','d94bcf6016c2285d4cf61fc05855ad54fb8d7ffc377f461d5079d1bdd95699c6');
CREATE TABLE guideline (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	created VARCHAR(40) NOT NULL, 
	CONSTRAINT pk_guideline PRIMARY KEY (id), 
	CONSTRAINT uq_guideline_project_id_version UNIQUE (project_id, version), 
	CONSTRAINT fk_guideline_project_id FOREIGN KEY(project_id) REFERENCES project (id)
);
INSERT INTO "guideline" VALUES(1,1,1,'Prefer the kind answer.','2026-11-30T22:46:11.185+00:00');
CREATE TABLE item (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	"key" VARCHAR(32) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	prompt_id INTEGER, 
	round_id INTEGER, 
	body TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	gold TEXT, 
	turn FLOAT NOT NULL, 
	overlap INTEGER NOT NULL, 
	free INTEGER NOT NULL, 
	created VARCHAR(40) NOT NULL, 
	CONSTRAINT pk_item PRIMARY KEY (id), 
	CONSTRAINT uq_item_project_id_key UNIQUE (project_id, "key"), 
	CONSTRAINT fk_item_project_id FOREIGN KEY(project_id) REFERENCES project (id), 
	CONSTRAINT fk_item_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompt (id), 
	CONSTRAINT fk_item_round_id FOREIGN KEY(round_id) REFERENCES round (id)
);
INSERT INTO "item" VALUES(1,1,'c5f8eadd72f9c807098fc3f219f3c33a','pair',1,NULL,'{}','',NULL,0.0,2,1,'2026-11-30T22:46:11.211+00:00');
INSERT INTO "item" VALUES(2,1,'b93c344bf997fb443046070516a876c5','pair',2,NULL,'{}','',NULL,0.0,2,1,'2026-11-30T22:46:11.211+00:00');
INSERT INTO "item" VALUES(3,1,'3e006c2327cb187edffff0525b1ed41c','pair',3,NULL,'{}','',NULL,0.0,2,2,'2026-11-30T22:46:11.211+00:00');
INSERT INTO "item" VALUES(4,1,'d03e57851f959115396ca86dd6865f75','pair',4,NULL,'{}','',NULL,0.0,2,2,'2026-11-30T22:46:11.211+00:00');
CREATE TABLE item_completion (
	item_id INTEGER NOT NULL, 
	place INTEGER NOT NULL, 
	completion_id INTEGER NOT NULL, 
	CONSTRAINT pk_item_completion PRIMARY KEY (item_id, place), 
	CONSTRAINT fk_item_completion_item_id FOREIGN KEY(item_id) REFERENCES item (id), 
	CONSTRAINT fk_item_completion_completion_id FOREIGN KEY(completion_id) REFERENCES completion (id)
);
INSERT INTO "item_completion" VALUES(1,0,1);
INSERT INTO "item_completion" VALUES(1,1,2);
INSERT INTO "item_completion" VALUES(2,0,3);
INSERT INTO "item_completion" VALUES(2,1,4);
INSERT INTO "item_completion" VALUES(3,0,5);
INSERT INTO "item_completion" VALUES(3,1,6);
INSERT INTO "item_completion" VALUES(4,0,7);
INSERT INTO "item_completion" VALUES(4,1,8);
CREATE TABLE project (
	id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	licence TEXT NOT NULL, 
	settings TEXT NOT NULL, 
	created VARCHAR(40) NOT NULL, 
	head BIGINT NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_project PRIMARY KEY (id), 
	CONSTRAINT uq_project_name UNIQUE (name)
);
INSERT INTO "project" VALUES(1,'first','open','CC0-1.0','{}','2026-11-30T22:46:11.170+00:00',5,'d94bcf6016c2285d4cf61fc05855ad54fb8d7ffc377f461d5079d1bdd95699c6');
CREATE TABLE prompt (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	"key" VARCHAR(32) NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_prompt PRIMARY KEY (id), 
	CONSTRAINT uq_prompt_project_id_key UNIQUE (project_id, "key"), 
	CONSTRAINT fk_prompt_project_id FOREIGN KEY(project_id) REFERENCES project (id)
);
INSERT INTO "prompt" VALUES(1,1,'f097160173880d65be69920d7b983b29','{"messages": [{"role": "user", "content": "Question 0?"}], "id": "c68f984876cebb28"}');
INSERT INTO "prompt" VALUES(2,1,'7cdf7486b1da32577c5170b28c2e3065','{"messages": [{"role": "user", "content": "Question 1?"}], "id": "c6573b9798316996"}');
INSERT INTO "prompt" VALUES(3,1,'9f554aa64034f297968ec6f7ab152e55','{"messages": [{"role": "user", "content": "Question 2?"}], "id": "a9b299af68c422fa"}');
INSERT INTO "prompt" VALUES(4,1,'571ba1d1126219e303b9c339523dbb70','{"messages": [{"role": "user", "content": "Question 3?"}], "id": "6df3bc9919e29aec"}');
CREATE TABLE round (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	created VARCHAR(40) NOT NULL, 
	CONSTRAINT pk_round PRIMARY KEY (id), 
	CONSTRAINT uq_round_project_id_name UNIQUE (project_id, name), 
	CONSTRAINT fk_round_project_id FOREIGN KEY(project_id) REFERENCES project (id)
);
CREATE TABLE snapshot (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	head BIGINT NOT NULL, 
	last_item BIGINT NOT NULL, 
	round TEXT NOT NULL, 
	rows BIGINT NOT NULL, 
	content VARCHAR(64) NOT NULL, 
	created VARCHAR(40) NOT NULL, 
	CONSTRAINT pk_snapshot PRIMARY KEY (id), 
	CONSTRAINT uq_snapshot_project_id_number UNIQUE (project_id, number), 
	CONSTRAINT fk_snapshot_project_id FOREIGN KEY(project_id) REFERENCES project (id)
);
INSERT INTO "snapshot" VALUES(1,1,1,5,4,'',4,'3aff54527565744b13acdbef3ec331fa5e7325b14d7ae0106c9460f9ecbf3034','2026-11-30T22:46:11.422+00:00');
CREATE TABLE standing (
	item_id INTEGER NOT NULL, 
	annotator_id INTEGER NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	project_id INTEGER NOT NULL, 
	number BIGINT NOT NULL, 
	CONSTRAINT pk_standing PRIMARY KEY (item_id, annotator_id, name), 
	CONSTRAINT uq_standing_project_id_number UNIQUE (project_id, number), 
	CONSTRAINT fk_standing_item_id FOREIGN KEY(item_id) REFERENCES item (id), 
	CONSTRAINT fk_standing_annotator_id FOREIGN KEY(annotator_id) REFERENCES annotator (id), 
	CONSTRAINT fk_standing_project_id FOREIGN KEY(project_id) REFERENCES project (id)
);
INSERT INTO "standing" VALUES(1,1,'',1,1);
INSERT INTO "standing" VALUES(2,1,'',1,4);
CREATE INDEX ix_item_project_id_kind_id ON item (project_id, kind, id);
CREATE INDEX ix_item_open ON item (project_id, turn, id) WHERE free > 0;
CREATE INDEX ix_item_completion_completion_id ON item_completion (completion_id);
CREATE INDEX ix_event_thread ON event (item_id, annotator_id, name, number);
CREATE INDEX ix_event_project_id_annotator_id_number ON event (project_id, annotator_id, number);
CREATE INDEX ix_event_project_id_refers ON event (project_id, refers);
CREATE INDEX ix_claim_annotator_id_state ON claim (annotator_id, state);
CREATE INDEX ix_claim_project_id_state_until ON claim (project_id, state, until);
COMMIT;
