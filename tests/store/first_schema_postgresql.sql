CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.annotator (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    pseudonym character varying(200) NOT NULL,
    role character varying(16) NOT NULL,
    created character varying(40) NOT NULL
);
CREATE SEQUENCE public.annotator_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.annotator_id_seq OWNED BY public.annotator.id;
CREATE TABLE public.claim (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    item_id bigint NOT NULL,
    annotator_id bigint NOT NULL,
    slot integer,
    state character varying(16) NOT NULL,
    until double precision NOT NULL
);
CREATE SEQUENCE public.claim_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.claim_id_seq OWNED BY public.claim.id;
CREATE TABLE public.completion (
    id bigint NOT NULL,
    prompt_id bigint NOT NULL,
    key character varying(32) NOT NULL,
    policy text NOT NULL,
    weights text NOT NULL,
    seed bigint,
    sampling text NOT NULL,
    body text NOT NULL
);
CREATE SEQUENCE public.completion_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.completion_id_seq OWNED BY public.completion.id;
CREATE TABLE public.draft (
    annotator_id bigint NOT NULL,
    key character varying(64) NOT NULL,
    text text NOT NULL,
    "time" character varying(40) NOT NULL
);
CREATE TABLE public.event (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    number bigint NOT NULL,
    kind character varying(16) NOT NULL,
    item_id bigint,
    annotator_id bigint,
    name character varying(200) NOT NULL,
    refers bigint,
    body text NOT NULL,
    recorded character varying(40) NOT NULL,
    key character varying(128) NOT NULL,
    digest character varying(64) NOT NULL,
    hash character varying(64) NOT NULL
);
CREATE SEQUENCE public.event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.event_id_seq OWNED BY public.event.id;
CREATE TABLE public.guideline (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    version integer NOT NULL,
    text text NOT NULL,
    created character varying(40) NOT NULL
);
CREATE SEQUENCE public.guideline_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.guideline_id_seq OWNED BY public.guideline.id;
CREATE TABLE public.item (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    key character varying(32) NOT NULL,
    kind character varying(16) NOT NULL,
    prompt_id bigint,
    round_id bigint,
    body text NOT NULL,
    reason text NOT NULL,
    gold text,
    turn double precision NOT NULL,
    overlap integer NOT NULL,
    free integer NOT NULL,
    created character varying(40) NOT NULL
);
CREATE TABLE public.item_completion (
    item_id bigint NOT NULL,
    place integer NOT NULL,
    completion_id bigint NOT NULL
);
CREATE SEQUENCE public.item_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.item_id_seq OWNED BY public.item.id;
CREATE TABLE public.project (
    id bigint NOT NULL,
    name character varying(64) NOT NULL,
    state character varying(16) NOT NULL,
    licence text NOT NULL,
    settings text NOT NULL,
    created character varying(40) NOT NULL,
    head bigint NOT NULL,
    hash character varying(64) NOT NULL
);
CREATE SEQUENCE public.project_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.project_id_seq OWNED BY public.project.id;
CREATE TABLE public.prompt (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    key character varying(32) NOT NULL,
    body text NOT NULL
);
CREATE SEQUENCE public.prompt_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.prompt_id_seq OWNED BY public.prompt.id;
CREATE TABLE public.round (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    name character varying(200) NOT NULL,
    created character varying(40) NOT NULL
);
CREATE SEQUENCE public.round_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.round_id_seq OWNED BY public.round.id;
CREATE TABLE public.snapshot (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    number integer NOT NULL,
    head bigint NOT NULL,
    last_item bigint NOT NULL,
    round text NOT NULL,
    rows bigint NOT NULL,
    content character varying(64) NOT NULL,
    created character varying(40) NOT NULL
);
CREATE SEQUENCE public.snapshot_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.snapshot_id_seq OWNED BY public.snapshot.id;
CREATE TABLE public.standing (
    item_id bigint NOT NULL,
    annotator_id bigint NOT NULL,
    name character varying(200) NOT NULL,
    project_id bigint NOT NULL,
    number bigint NOT NULL
);
ALTER TABLE ONLY public.annotator ALTER COLUMN id SET DEFAULT nextval('public.annotator_id_seq'::regclass);
ALTER TABLE ONLY public.claim ALTER COLUMN id SET DEFAULT nextval('public.claim_id_seq'::regclass);
ALTER TABLE ONLY public.completion ALTER COLUMN id SET DEFAULT nextval('public.completion_id_seq'::regclass);
ALTER TABLE ONLY public.event ALTER COLUMN id SET DEFAULT nextval('public.event_id_seq'::regclass);
ALTER TABLE ONLY public.guideline ALTER COLUMN id SET DEFAULT nextval('public.guideline_id_seq'::regclass);
ALTER TABLE ONLY public.item ALTER COLUMN id SET DEFAULT nextval('public.item_id_seq'::regclass);
ALTER TABLE ONLY public.project ALTER COLUMN id SET DEFAULT nextval('public.project_id_seq'::regclass);
ALTER TABLE ONLY public.prompt ALTER COLUMN id SET DEFAULT nextval('public.prompt_id_seq'::regclass);
ALTER TABLE ONLY public.round ALTER COLUMN id SET DEFAULT nextval('public.round_id_seq'::regclass);
ALTER TABLE ONLY public.snapshot ALTER COLUMN id SET DEFAULT nextval('public.snapshot_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0001');
INSERT INTO public.annotator VALUES (1, 1, 'ann', 'labeller', '2026-11-30T22:46:11.249+00:00');
INSERT INTO public.claim VALUES (1, 1, 1, 1, 0, 'done', 0);
INSERT INTO public.claim VALUES (2, 1, 2, 1, 0, 'done', 0);
INSERT INTO public.claim VALUES (3, 1, 3, 1, NULL, 'skipped', 0);
INSERT INTO public.completion VALUES (1, 1, 'bc55369e9cacb9ec93d1950850343536', 'runs/sft', '', 0, '{"temperature": 0.7}', '{"text": "Good answer 0", "model": "runs/sft", "sampling": {"temperature": 0.7}, "seed": 0}');
INSERT INTO public.completion VALUES (2, 1, 'e6cf658be37cd4c3da91d296a26b0f11', 'runs/ppo', '', NULL, '{}', '{"text": "Bad answer 0", "model": "runs/ppo"}');
INSERT INTO public.completion VALUES (3, 2, 'aa804fa9f2f0477eb17e8d351c8cdc2e', 'runs/sft', '', 1, '{"temperature": 0.7}', '{"text": "Good answer 1", "model": "runs/sft", "sampling": {"temperature": 0.7}, "seed": 1}');
INSERT INTO public.completion VALUES (4, 2, '5d93c7488bce6c137d122289d3d262a9', 'runs/ppo', '', NULL, '{}', '{"text": "Bad answer 1", "model": "runs/ppo"}');
INSERT INTO public.completion VALUES (5, 3, '967b1faae75e542e49512e427e37a880', 'runs/sft', '', 2, '{"temperature": 0.7}', '{"text": "Good answer 2", "model": "runs/sft", "sampling": {"temperature": 0.7}, "seed": 2}');
INSERT INTO public.completion VALUES (6, 3, '670d6564748c43a1e0d75bced369207e', 'runs/ppo', '', NULL, '{}', '{"text": "Bad answer 2", "model": "runs/ppo"}');
INSERT INTO public.completion VALUES (7, 4, '76dedf91c163ce8832c3d6b61e4a3df1', 'runs/sft', '', 3, '{"temperature": 0.7}', '{"text": "Good answer 3", "model": "runs/sft", "sampling": {"temperature": 0.7}, "seed": 3}');
INSERT INTO public.completion VALUES (8, 4, '759b0dc10e4e54e291cf8f47c948ddfe', 'runs/ppo', '', NULL, '{}', '{"text": "Bad answer 3", "model": "runs/ppo"}');
INSERT INTO public.event VALUES (1, 1, 1, 'label', 1, 1, '', NULL, '{"preference": 1.0, "shown": "first", "metadata": {"seconds": 3.5}}', '2026-11-30T22:46:11.287+00:00', 'key-0', 'eb9951de382bad561491f58033cd35efbfab543cb2891a071e21597a1b114897', '524fdddbf8d4bf8937f24401fdfd5cbca28ff345244fa6f45c58a74654a1b760');
INSERT INTO public.event VALUES (2, 1, 2, 'label', 2, 1, '', NULL, '{"preference": 1.0, "shown": "first", "metadata": {"seconds": 3.5}}', '2026-11-30T22:46:11.307+00:00', 'key-1', '696b71534f810e7e262d411ad4576fc19abc1f3cfd504bd5f68f9b0593fbb355', '031f2c47c65c9cf8e3b6cd6ab770927fe8c92e443b9af6b9a8fab405e8626219');
INSERT INTO public.event VALUES (3, 1, 3, 'undo', 2, 1, '', 2, '{}', '2026-11-30T22:46:11.328+00:00', 'key-undo', '7e227692cbb2648b1d17e815b3d2b0c27631dfddcfa6ace422c63b87dfef4814', '4678b5ee0ce296d7e238feb628749bb2399bb6da87018f8991b89ecc22fee42a');
INSERT INTO public.event VALUES (4, 1, 4, 'label', 2, 1, '', NULL, '{"preference": 0.5, "both_bad": true}', '2026-11-30T22:46:11.343+00:00', 'key-2', '610853e21abc4a8d1c3b730049f0ccbce9b84b75304d8e53bc68c0d4465813ca', 'c534320c946104d19e2a55e2cb4377e97b96f40d2cdfa2c141b0ef8d03af1613');
INSERT INTO public.event VALUES (5, 1, 5, 'skip', 3, 1, '', NULL, '{"reason": "too long"}', '2026-11-30T22:46:11.359+00:00', 'key-3', '9d7ff17306e314669eef616cff3df4813df1279461f2015c8ba45373b7d151b0', 'd94bcf6016c2285d4cf61fc05855ad54fb8d7ffc377f461d5079d1bdd95699c6');
INSERT INTO public.guideline VALUES (1, 1, 1, 'Prefer the kind answer.', '2026-11-30T22:46:11.185+00:00');
INSERT INTO public.item VALUES (1, 1, 'c5f8eadd72f9c807098fc3f219f3c33a', 'pair', 1, NULL, '{}', '', NULL, 0, 2, 1, '2026-11-30T22:46:11.211+00:00');
INSERT INTO public.item VALUES (2, 1, 'b93c344bf997fb443046070516a876c5', 'pair', 2, NULL, '{}', '', NULL, 0, 2, 1, '2026-11-30T22:46:11.211+00:00');
INSERT INTO public.item VALUES (3, 1, '3e006c2327cb187edffff0525b1ed41c', 'pair', 3, NULL, '{}', '', NULL, 0, 2, 2, '2026-11-30T22:46:11.211+00:00');
INSERT INTO public.item VALUES (4, 1, 'd03e57851f959115396ca86dd6865f75', 'pair', 4, NULL, '{}', '', NULL, 0, 2, 2, '2026-11-30T22:46:11.211+00:00');
INSERT INTO public.item_completion VALUES (1, 0, 1);
INSERT INTO public.item_completion VALUES (1, 1, 2);
INSERT INTO public.item_completion VALUES (2, 0, 3);
INSERT INTO public.item_completion VALUES (2, 1, 4);
INSERT INTO public.item_completion VALUES (3, 0, 5);
INSERT INTO public.item_completion VALUES (3, 1, 6);
INSERT INTO public.item_completion VALUES (4, 0, 7);
INSERT INTO public.item_completion VALUES (4, 1, 8);
INSERT INTO public.project VALUES (1, 'first', 'open', 'CC0-1.0', '{}', '2026-11-30T22:46:11.170+00:00', 5, 'd94bcf6016c2285d4cf61fc05855ad54fb8d7ffc377f461d5079d1bdd95699c6');
INSERT INTO public.prompt VALUES (1, 1, 'f097160173880d65be69920d7b983b29', '{"messages": [{"role": "user", "content": "Question 0?"}], "id": "c68f984876cebb28"}');
INSERT INTO public.prompt VALUES (2, 1, '7cdf7486b1da32577c5170b28c2e3065', '{"messages": [{"role": "user", "content": "Question 1?"}], "id": "c6573b9798316996"}');
INSERT INTO public.prompt VALUES (3, 1, '9f554aa64034f297968ec6f7ab152e55', '{"messages": [{"role": "user", "content": "Question 2?"}], "id": "a9b299af68c422fa"}');
INSERT INTO public.prompt VALUES (4, 1, '571ba1d1126219e303b9c339523dbb70', '{"messages": [{"role": "user", "content": "Question 3?"}], "id": "6df3bc9919e29aec"}');
INSERT INTO public.snapshot VALUES (1, 1, 1, 5, 4, '', 4, '3aff54527565744b13acdbef3ec331fa5e7325b14d7ae0106c9460f9ecbf3034', '2026-11-30T22:46:11.422+00:00');
INSERT INTO public.standing VALUES (1, 1, '', 1, 1);
INSERT INTO public.standing VALUES (2, 1, '', 1, 4);
SELECT pg_catalog.setval('public.annotator_id_seq', 1, true);
SELECT pg_catalog.setval('public.claim_id_seq', 3, true);
SELECT pg_catalog.setval('public.completion_id_seq', 8, true);
SELECT pg_catalog.setval('public.event_id_seq', 5, true);
SELECT pg_catalog.setval('public.guideline_id_seq', 1, true);
SELECT pg_catalog.setval('public.item_id_seq', 4, true);
SELECT pg_catalog.setval('public.project_id_seq', 1, true);
SELECT pg_catalog.setval('public.prompt_id_seq', 4, true);
SELECT pg_catalog.setval('public.round_id_seq', 1, false);
SELECT pg_catalog.setval('public.snapshot_id_seq', 1, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.annotator
    ADD CONSTRAINT pk_annotator PRIMARY KEY (id);
ALTER TABLE ONLY public.claim
    ADD CONSTRAINT pk_claim PRIMARY KEY (id);
ALTER TABLE ONLY public.completion
    ADD CONSTRAINT pk_completion PRIMARY KEY (id);
ALTER TABLE ONLY public.draft
    ADD CONSTRAINT pk_draft PRIMARY KEY (annotator_id, key);
ALTER TABLE ONLY public.event
    ADD CONSTRAINT pk_event PRIMARY KEY (id);
ALTER TABLE ONLY public.guideline
    ADD CONSTRAINT pk_guideline PRIMARY KEY (id);
ALTER TABLE ONLY public.item
    ADD CONSTRAINT pk_item PRIMARY KEY (id);
ALTER TABLE ONLY public.item_completion
    ADD CONSTRAINT pk_item_completion PRIMARY KEY (item_id, place);
ALTER TABLE ONLY public.project
    ADD CONSTRAINT pk_project PRIMARY KEY (id);
ALTER TABLE ONLY public.prompt
    ADD CONSTRAINT pk_prompt PRIMARY KEY (id);
ALTER TABLE ONLY public.round
    ADD CONSTRAINT pk_round PRIMARY KEY (id);
ALTER TABLE ONLY public.snapshot
    ADD CONSTRAINT pk_snapshot PRIMARY KEY (id);
ALTER TABLE ONLY public.standing
    ADD CONSTRAINT pk_standing PRIMARY KEY (item_id, annotator_id, name);
ALTER TABLE ONLY public.annotator
    ADD CONSTRAINT uq_annotator_project_id_pseudonym UNIQUE (project_id, pseudonym);
ALTER TABLE ONLY public.claim
    ADD CONSTRAINT uq_claim_item_id_annotator_id UNIQUE (item_id, annotator_id);
ALTER TABLE ONLY public.claim
    ADD CONSTRAINT uq_claim_item_id_slot UNIQUE (item_id, slot);
ALTER TABLE ONLY public.completion
    ADD CONSTRAINT uq_completion_prompt_id_key UNIQUE (prompt_id, key);
ALTER TABLE ONLY public.event
    ADD CONSTRAINT uq_event_project_id_key UNIQUE (project_id, key);
ALTER TABLE ONLY public.event
    ADD CONSTRAINT uq_event_project_id_number UNIQUE (project_id, number);
ALTER TABLE ONLY public.guideline
    ADD CONSTRAINT uq_guideline_project_id_version UNIQUE (project_id, version);
ALTER TABLE ONLY public.item
    ADD CONSTRAINT uq_item_project_id_key UNIQUE (project_id, key);
ALTER TABLE ONLY public.project
    ADD CONSTRAINT uq_project_name UNIQUE (name);
ALTER TABLE ONLY public.prompt
    ADD CONSTRAINT uq_prompt_project_id_key UNIQUE (project_id, key);
ALTER TABLE ONLY public.round
    ADD CONSTRAINT uq_round_project_id_name UNIQUE (project_id, name);
ALTER TABLE ONLY public.snapshot
    ADD CONSTRAINT uq_snapshot_project_id_number UNIQUE (project_id, number);
ALTER TABLE ONLY public.standing
    ADD CONSTRAINT uq_standing_project_id_number UNIQUE (project_id, number);
CREATE INDEX ix_claim_annotator_id_state ON public.claim USING btree (annotator_id, state);
CREATE INDEX ix_claim_project_id_state_until ON public.claim USING btree (project_id, state, until);
CREATE INDEX ix_event_project_id_annotator_id_number ON public.event USING btree (project_id, annotator_id, number);
CREATE INDEX ix_event_project_id_refers ON public.event USING btree (project_id, refers);
CREATE INDEX ix_event_thread ON public.event USING btree (item_id, annotator_id, name, number);
CREATE INDEX ix_item_completion_completion_id ON public.item_completion USING btree (completion_id);
CREATE INDEX ix_item_open ON public.item USING btree (project_id, turn, id) WHERE (free > 0);
CREATE INDEX ix_item_project_id_kind_id ON public.item USING btree (project_id, kind, id);
ALTER TABLE ONLY public.annotator
    ADD CONSTRAINT fk_annotator_project_id FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.claim
    ADD CONSTRAINT fk_claim_annotator_id FOREIGN KEY (annotator_id) REFERENCES public.annotator(id);
ALTER TABLE ONLY public.claim
    ADD CONSTRAINT fk_claim_item_id FOREIGN KEY (item_id) REFERENCES public.item(id);
ALTER TABLE ONLY public.claim
    ADD CONSTRAINT fk_claim_project_id FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.completion
    ADD CONSTRAINT fk_completion_prompt_id FOREIGN KEY (prompt_id) REFERENCES public.prompt(id);
ALTER TABLE ONLY public.draft
    ADD CONSTRAINT fk_draft_annotator_id FOREIGN KEY (annotator_id) REFERENCES public.annotator(id);
ALTER TABLE ONLY public.event
    ADD CONSTRAINT fk_event_annotator_id FOREIGN KEY (annotator_id) REFERENCES public.annotator(id);
ALTER TABLE ONLY public.event
    ADD CONSTRAINT fk_event_item_id FOREIGN KEY (item_id) REFERENCES public.item(id);
ALTER TABLE ONLY public.event
    ADD CONSTRAINT fk_event_project_id FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.guideline
    ADD CONSTRAINT fk_guideline_project_id FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.item_completion
    ADD CONSTRAINT fk_item_completion_completion_id FOREIGN KEY (completion_id) REFERENCES public.completion(id);
ALTER TABLE ONLY public.item_completion
    ADD CONSTRAINT fk_item_completion_item_id FOREIGN KEY (item_id) REFERENCES public.item(id);
ALTER TABLE ONLY public.item
    ADD CONSTRAINT fk_item_project_id FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.item
    ADD CONSTRAINT fk_item_prompt_id FOREIGN KEY (prompt_id) REFERENCES public.prompt(id);
ALTER TABLE ONLY public.item
    ADD CONSTRAINT fk_item_round_id FOREIGN KEY (round_id) REFERENCES public.round(id);
ALTER TABLE ONLY public.prompt
    ADD CONSTRAINT fk_prompt_project_id FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.round
    ADD CONSTRAINT fk_round_project_id FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.snapshot
    ADD CONSTRAINT fk_snapshot_project_id FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.standing
    ADD CONSTRAINT fk_standing_annotator_id FOREIGN KEY (annotator_id) REFERENCES public.annotator(id);
ALTER TABLE ONLY public.standing
    ADD CONSTRAINT fk_standing_item_id FOREIGN KEY (item_id) REFERENCES public.item(id);
ALTER TABLE ONLY public.standing
    ADD CONSTRAINT fk_standing_project_id FOREIGN KEY (project_id) REFERENCES public.project(id);
