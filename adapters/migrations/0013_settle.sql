-- A commit under way has its time already, and nobody sees it yet. Whoever wants all facts up to an instant waits for it here:
-- afterwards another statement sees everything that was recorded before this one was made.
create function ledger.settle() returns void language plpgsql
    security definer set search_path = pg_catalog, pg_temp set lock_timeout = '10s' as $$
begin
    perform from ledger.head for share;
end $$;
revoke execute on function ledger.settle from public;  -- it holds writers up, if only for a moment
grant execute on function ledger.settle to counterfoil_projector;
