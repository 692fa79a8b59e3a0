-- As the keys of people (0008): what was deleted is not to lie about in a dead row.

alter table secrets.passwords set (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
