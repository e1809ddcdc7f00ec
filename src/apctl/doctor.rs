//! `apctl doctor [--peer]`: what the daemon's doctor finds here and, through the daemon, on the other node; and what this
//! command can see by itself where no daemon answers.

use super::answers::Examinations;
use super::arguments::Common;
use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::{Output, Tone};
use super::view::{clean, wrapped};
use crate::config::{Sources, load};
use crate::wire::control::SCHEMA_VERSION;
use crate::wire::control::doctor::{Examination, Grade, Symptom};
use std::time::Duration;

/// The doctor asks servers and networks, here and there.
const PATIENCE: Duration = Duration::from_secs(30);

/// `doctor`.
pub(super) fn doctor(client: &Client, output: &Output, common: &Common, peer: bool) -> Result<Exit, Failure> {
    let mut nodes = vec![match client.get_slowly("/doctor", PATIENCE) {
        Ok(examination) => examination,
        Err(failure) => alone(common, &failure),
    }];
    if peer {
        nodes.push(match client.get_slowly("/peer/doctor", PATIENCE) {
            Ok(examination) => examination,
            Err(failure) => Examination::new(
                "the other node",
                vec![Symptom::error("pair", failure.message).resolved_by(failure.remedy)],
            ),
        });
    }
    let worst = nodes.iter().map(Examination::worst).max().unwrap_or(Grade::Good);
    let found = Examinations { schema_version: SCHEMA_VERSION, worst, nodes };
    output.show(&found, |output| {
        found.nodes.iter().map(|node| page(node, output)).collect::<Vec<_>>().join("\n")
    })?;
    Ok(match worst {
        Grade::Good | Grade::Note => Exit::OK,
        Grade::Warning => Exit::DEGRADED,
        Grade::Error => Exit::FAILED,
    })
}

/// What can be seen without the daemon.
fn alone(common: &Common, failure: &Failure) -> Examination {
    let mut symptoms =
        vec![Symptom::error("daemon", failure.message.clone()).resolved_by(failure.remedy.clone())];
    let node = match load(&Sources::from_host(&common.config).without_secrets()) {
        Ok(loaded) => {
            symptoms.push(Symptom::good("configuration", format!("{} is valid", common.config.display())));
            symptoms.extend(loaded.warnings.iter().map(|warning| {
                Symptom::warning("configuration", format!("{}: {}", warning.key, warning.what))
                    .resolved_by(warning.remedy.clone())
            }));
            loaded.config.me.name
        }
        Err(errors) => {
            symptoms.extend(errors.problems.iter().map(|problem| {
                let text = format!("{}: {}: {}", problem.origin, problem.key, problem.what);
                Symptom::error("configuration", text).resolved_by(problem.remedy.clone())
            }));
            "this node".to_owned()
        }
    };
    Examination::new(&node, symptoms)
}

/// The worst first, each with what resolves it; what is well, last and short.
fn page(examination: &Examination, output: &Output) -> String {
    let count = |grade| examination.symptoms.iter().filter(|symptom| symptom.grade == grade).count();
    let (errors, warnings) = (count(Grade::Error), count(Grade::Warning));
    let verdict = match (errors, warnings) {
        (0, 0) => "well".to_owned(),
        (0, warnings) => format!("{warnings} to look at"),
        (errors, 0) => format!("{errors} wrong"),
        (errors, warnings) => format!("{errors} wrong, {warnings} to look at"),
    };
    let heading = format!("{}: {verdict}", clean(&examination.node));
    let mut text = output.paint(Tone::Strong, &heading) + "\n";
    let mut symptoms: Vec<&Symptom> = examination.symptoms.iter().collect();
    symptoms.sort_by_key(|symptom| std::cmp::Reverse(symptom.grade));
    for symptom in symptoms {
        let (word, tone) = match symptom.grade {
            Grade::Error => ("WRONG", Tone::Bad),
            Grade::Warning => ("LOOK", Tone::Warning),
            Grade::Note => ("NOTE", Tone::Faint),
            Grade::Good => ("ok", Tone::Good),
        };
        let said = format!("{}: {}", symptom.area, clean(&symptom.text));
        let body = wrapped(&said, "       ", output.width());
        text.push_str(&format!("{} {}", output.paint(tone, &format!("{word:<6}")), body.trim_start()));
        if !symptom.remedy.is_empty() {
            let remedy = wrapped(&clean(&symptom.remedy), "          ", output.width());
            text.push_str(&format!("       {} {}", output.paint(Tone::Strong, "->"), remedy.trim_start()));
        }
    }
    text
}
