-- requires: timescaledb
create extension if not exists timescaledb;
