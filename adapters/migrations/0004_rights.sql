-- The application may append and read; it lacks the right to change what is recorded. The projector owns the views.

grant usage on schema ledger, secrets, projections to counterfoil_app;
grant select on all tables in schema ledger to counterfoil_app;
grant insert, update, delete on ledger.snapshots to counterfoil_app;
grant delete on ledger.answers to counterfoil_app;
grant execute on all functions in schema ledger to counterfoil_app;
grant select, insert, update, delete on all tables in schema secrets to counterfoil_app;
grant select on all tables in schema projections to counterfoil_app;

grant usage on schema ledger, projections to counterfoil_projector;
grant select on ledger.events, ledger.head, ledger.facts to counterfoil_projector;
grant execute on all functions in schema ledger to counterfoil_projector;
grant select, insert, update, delete on all tables in schema projections to counterfoil_projector;
alter default privileges for role counterfoil_projector grant usage on schemas to counterfoil_app;
alter default privileges for role counterfoil_projector grant select on tables to counterfoil_app;
