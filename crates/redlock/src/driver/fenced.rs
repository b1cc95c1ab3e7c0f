//! The other side of a fencing token: a store that takes no write with a token older than one that it has seen.
//!
//! [`LIBRARY`] is a library of functions for Redis 7 and for Quorate. Any store can do the same; the README has SQL and
//! object stores.
//!
//! ```
//! # use quorate_redlock::{RedLock, stand::Servers};
//! use quorate_redlock::fenced;
//! # use std::time::Duration;
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let Some(servers) = Servers::start(3) else { return Ok(()) };
//! # let addresses = servers.addresses();
//! # let redlock = RedLock::builder().nodes(addresses.clone()).fenced(true).connect().await?;
//! let client = redis::Client::open(format!("redis://{}", addresses[0]))?;
//! let mut store = client.get_multiplexed_async_connection().await?;
//! fenced::load(&mut store).await?;
//!
//! let ttl = Duration::from_secs(5);
//! let first = redlock.lock("account:1", ttl).await?;
//! let stale = first.fence().unwrap_or_default();
//! first.release().await;
//! let second = redlock.lock("account:1", ttl).await?;
//! let token = second.fence().unwrap_or_default();
//!
//! assert!(fenced::set(&mut store, "balance:1", "90", token).await?);
//! // Somebody who still believes to hold the lock writes too late.
//! assert!(!fenced::set(&mut store, "balance:1", "100", stale).await?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use redis::RedisResult;
use redis::aio::ConnectionLike;

/// `FCALL fenced_set 2 KEY KEY:fence VALUE TOKEN` stores the value and answers 1, or answers 0 if the key has seen a newer
/// token. `FCALL fenced_del 2 KEY KEY:fence TOKEN` removes it by the same rule. Tokens are compared as whole numbers below 2^53.
pub const LIBRARY: &str = "#!lua name=redlock_fenced
local function is_stale(key, token)
  local number = tonumber(token)
  if not number or number < 0 or number ~= math.floor(number) or number >= 9007199254740992 then
    error('the fencing token must be a whole number below 2^53')
  end
  return number < tonumber(redis.call('get', key) or '0')
end
redis.register_function('fenced_set', function(keys, args)
  if is_stale(keys[2], args[2]) then return 0 end
  redis.call('set', keys[1], args[1])
  redis.call('set', keys[2], args[2])
  return 1
end)
redis.register_function('fenced_del', function(keys, args)
  if is_stale(keys[2], args[1]) then return 0 end
  redis.call('del', keys[1])
  redis.call('set', keys[2], args[1])
  return 1
end)
";

fn fence_of(key: &str) -> String {
    format!("{key}:fence")
}

/// Teaches a server the library.
///
/// # Errors
/// The server has no functions, or refuses them.
pub async fn load(store: &mut impl ConnectionLike) -> RedisResult<()> {
    let () = redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(LIBRARY).query_async(store).await?;
    Ok(())
}

/// Stores a value, unless a newer token has been seen; whether it was stored.
///
/// # Errors
/// The server can't be asked, or does not know the library.
pub async fn set(store: &mut impl ConnectionLike, key: &str, value: &str, token: u64) -> RedisResult<bool> {
    let mut call = redis::cmd("FCALL");
    call.arg("fenced_set").arg(2).arg(key).arg(fence_of(key)).arg(value).arg(token);
    call.query_async(store).await
}

/// Removes a value, unless a newer token has been seen; whether that was allowed.
///
/// # Errors
/// The server can't be asked, or does not know the library.
pub async fn del(store: &mut impl ConnectionLike, key: &str, token: u64) -> RedisResult<bool> {
    let mut call = redis::cmd("FCALL");
    call.arg("fenced_del").arg(2).arg(key).arg(fence_of(key)).arg(token);
    call.query_async(store).await
}
