-- Owner: provisioning. A device and its change in the order in which they are told: after an import all of a
-- registry changed at one instant, and finding the next 500 of 100,000 took 5 s.

create index if not exists device_to_tell on device (changed_at, device_key)
  where published_at is null or published_at < changed_at;
drop index if exists device_unpublished;
