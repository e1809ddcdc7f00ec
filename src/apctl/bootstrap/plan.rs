//! What the two servers hold, and what is to be done about it.

use super::{BootstrapError, Site, until};
use crate::decision::gtid::GtidState;
use crate::io::mariadb::session::{Failure, Session};
use crate::io::mariadb::statement::statement;

/// What is to be done about the data.
#[derive(Clone, Debug)]
pub(super) enum Next {
    Nothing(&'static str),
    PeerUnknown(String),
    PeerCopiesFromHere,
    Follow(GtidState),
    CopyFromPeer { databases: Vec<String>, bytes: u64, unsafe_tables: u64 },
}

impl Next {
    pub(super) fn says(&self, site: &Site) -> String {
        let (me, peer) = (&site.me, &site.peer);
        match self {
            Next::Nothing(why) => (*why).to_owned(),
            Next::PeerUnknown(why) => format!(
                "{peer}'s server is not set up yet, or has other password files ({why}). Next: copy the password \
                 files from the node that was set up first to the other, then run `apctl bootstrap` on {peer}"
            ),
            Next::PeerCopiesFromHere => {
                format!("{me} has the data. Next: run `apctl bootstrap` on {peer}, which copies it from here")
            }
            Next::Follow(position) => format!("follow {peer} from {position}"),
            Next::CopyFromPeer { databases, bytes, unsafe_tables } => {
                let tail = match unsafe_tables {
                    0 => String::new(),
                    count => format!(
                        "; {count} tables are not InnoDB: nobody must write them meanwhile, or the copy differs"
                    ),
                };
                let size = bytes >> 20;
                format!("copy {} (about {size} MiB) from {peer} and follow it{tail}", databases.join(", "))
            }
        }
    }
}

/// What one server holds.
pub(super) struct Facts {
    server: u32,
    everything: GtidState,
    /// Databases with the number of their tables, apd's own left out.
    data: Vec<(String, u64)>,
    /// All databases but the server's own.
    pub(super) names: Vec<String>,
    bytes: u64,
    unsafe_tables: u64,
}

impl Facts {
    fn has_data(&self) -> bool {
        self.data.iter().any(|(_, tables)| *tables > 0)
    }

    fn shown(&self) -> String {
        let with_tables = self.data.iter().filter(|(_, tables)| *tables > 0);
        let shown: Vec<_> = with_tables.map(|(name, tables)| format!("{name} ({tables} tables)")).collect();
        shown.join(", ")
    }
}

/// Who has the data, and what follows from it.
pub(super) fn judge(site: &Site, mine: &Facts, theirs: &Facts) -> Result<Next, BootstrapError> {
    if mine.server == theirs.server {
        let line = format!("server_id is {} on both nodes: they must differ", mine.server);
        return Err(BootstrapError::Settings(vec![line]));
    }
    let unfinished = |facts: &Facts| facts.names.contains(&marker(&site.settings.schema));
    if unfinished(theirs) {
        return Ok(Next::PeerCopiesFromHere);
    }
    if unfinished(mine) || !mine.has_data() {
        let databases = theirs.names.clone();
        let (bytes, unsafe_tables) = (theirs.bytes, theirs.unsafe_tables);
        return Ok(Next::CopyFromPeer { databases, bytes, unsafe_tables });
    }
    if !theirs.has_data() {
        return Ok(Next::PeerCopiesFromHere);
    }
    if theirs.everything.covers(&mine.everything) && !mine.everything.is_empty() {
        return Ok(Next::Follow(mine.everything.position()));
    }
    if mine.everything.covers(&theirs.everything) && !theirs.everything.is_empty() {
        return Ok(Next::PeerCopiesFromHere);
    }
    let (me, peer) = (&site.me, &site.peer);
    Err(BootstrapError::Refused {
        reason: format!(
            "both servers have data and neither holds all of the other's: {me} has {}; {peer} has {}",
            mine.shown(),
            theirs.shown()
        ),
        remedy: "decide whose data stays, save and drop the other's databases, then run `apctl bootstrap` on that \
             other node"
            .to_owned(),
    })
}

/// Database that exists while a copy is under way.
pub(super) fn marker(schema: &str) -> String {
    format!("{schema}_copy_unfinished")
}

/// Reads what one server holds.
pub(super) async fn facts(session: &mut Session, schema: &str) -> Result<Facts, Failure> {
    let probe = session.rows(&statement!("probe"), until()).await?;
    let probe = probe.first().cloned().unwrap_or_default();
    let state = |name: &str| {
        probe.text(name).parse::<GtidState>().map_err(|error| Failure::Other(format!("{name}: {error}")))
    };
    let rows = session.rows(&statement!("user_databases"), until()).await?;
    let sum = |column: &str| rows.iter().filter_map(|row| row.number::<u64>(column)).sum();
    Ok(Facts {
        server: probe.number("server_id").unwrap_or(0),
        everything: state("gtid_binlog_state")?.union(&state("gtid_slave_pos")?),
        data: rows
            .iter()
            .filter(|row| row.text("name") != schema)
            .map(|row| (row.text("name").to_owned(), row.number("tables").unwrap_or(0)))
            .collect(),
        names: rows.iter().map(|row| row.text("name").to_owned()).collect(),
        bytes: sum("bytes"),
        unsafe_tables: sum("unsafe"),
    })
}
