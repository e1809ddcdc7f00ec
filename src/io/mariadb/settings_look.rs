//! What the doctor asks the local server: settings that no probe needs, and the accounts that `read_only` does not stop.

use super::Database;
use super::probe::bypass;
use super::session::Failure;
use super::statement::statement;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Accounts as `user@host`, or why they cannot be seen.
pub type Accounts = Result<Vec<String>, String>;

impl Database {
    /// Settings by name, and the accounts.
    ///
    /// # Errors
    /// When the server does not answer in time.
    pub async fn settings_and_accounts(
        &self,
        limit: Duration,
    ) -> Result<(BTreeMap<String, String>, Accounts), Failure> {
        let until = Instant::now() + limit;
        let rows = self.spare.ask(statement!("doctor"), until).await?;
        let settings: BTreeMap<String, String> =
            rows.iter().map(|row| (row.text("name").to_owned(), row.text("value").to_owned())).collect();
        let version = settings.get("version").map_or("", String::as_str);
        let asked = self.spare.ask(statement!("privileged_accounts", bypass = bypass(version)), until).await;
        let accounts = match asked {
            Ok(rows) => {
                Ok(rows.iter().map(|row| format!("{}@{}", row.text("user"), row.text("host"))).collect())
            }
            Err(failure @ Failure::Server { .. }) => Err(failure.to_string()),
            Err(failure) => return Err(failure),
        };
        Ok((settings, accounts))
    }
}
