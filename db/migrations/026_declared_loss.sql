-- Owner: ingest. Which of the given up numbers are really lost: some were on their way, and stored after all.

alter table declared_loss add column if not exists lost int8multirange not null default '{}';
update declared_loss set lost = int8multirange(int8range(first_seq, last_seq, '[]'))
where lost = '{}' and rows = last_seq - first_seq + 1;
