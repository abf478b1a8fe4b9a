//! `novasphere check-console`: looks whether an installation works, as somebody with a browser would. `helm test` runs it in a Pod.
//!
//! It must not know how the roles do their work: it uses their public ways in alone.

mod gateway;
mod screen;
mod session;

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use http::Uri;
use kube::Client;
use novasphere_runtime::{args::CommonArgs, client};

use self::{gateway::CheckedGateway, session::TestSession};

/// Where the aggregated API answers.
const API: &str = "/apis/subresources.novasphere.io/v1alpha1";

/// What is looked at.
#[derive(Args, Clone, Debug)]
pub struct CheckArguments {
    /// Where browsers reach the console gateway, such as `https://novasphere-console.novasphere-system.svc`. With `http://` it is not
    /// asked for a certificate.
    #[arg(long, value_name = "URL")]
    pub url: Uri,

    /// File with the authorities that may have signed the gateway's certificate, in PEM. Needed with `https://`.
    #[arg(long, value_name = "FILE")]
    pub authority_file: Option<PathBuf>,

    /// Also look whether kube-apiserver has the aggregated API behind it.
    #[arg(long)]
    pub api: bool,

    /// Open the console of this object, `<kind>/<namespace>/<name>` with the kind `VmAccess` or `VncWorkspace`, to look at it. Needs the rights to
    /// create and delete sessions there, to get tokens, and to view its console.
    #[arg(long, value_name = "OBJECT", requires = "api")]
    pub target: Option<CheckTarget>,

    /// How many seconds each step may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

/// A kind whose console can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckTargetKind {
    /// A virtual machine.
    #[value(name = "VmAccess")]
    VmAccess,
    /// A desktop.
    #[value(name = "VncWorkspace")]
    VncWorkspace,
}

/// Whose console is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckTarget {
    /// Its kind.
    pub kind: CheckTargetKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl CheckTargetKind {
    /// The kind as the API writes it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::VmAccess => "VmAccess",
            Self::VncWorkspace => "VncWorkspace",
        }
    }
}

impl FromStr for CheckTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        let (Some(kind), Some(namespace), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(format!("{text:?} is not <kind>/<namespace>/<name>"));
        };
        if namespace.is_empty() || name.is_empty() {
            return Err(format!("{text:?} has an empty part; write <kind>/<namespace>/<name>"));
        }
        Ok(Self {
            kind: CheckTargetKind::from_str(kind, false)?,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for CheckTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// Looks at everything, and says on standard output what works. Where a cluster is asked, it is the one of `common`.
///
/// # Errors
///
/// The first that does not work.
pub async fn run(arguments: CheckArguments, common: &CommonArgs) -> anyhow::Result<()> {
    let bound = Duration::from_secs(arguments.timeout);
    let gateway = CheckedGateway::new(&arguments.url, arguments.authority_file.as_deref())?;
    within(bound, gateway.page()).await.context("the page of consoles")?;
    println!("The page of consoles answers at {}.", arguments.url);
    let strangers = within(bound, gateway.refuses_strangers()).await;
    strangers.context("a token that nobody gave")?;
    println!("A token that nobody gave opens nothing.");
    if !arguments.api {
        return Ok(());
    }
    let kube_config = client::identified(common.kube_config().await?, "check")?;
    let client: Client = client::Builder::new(kube_config)?.build()?;
    within(bound, aggregated_api(&client)).await?;
    println!("The aggregated API answers through kube-apiserver.");
    let Some(target) = arguments.target else {
        return Ok(());
    };
    let session = within(bound, TestSession::create(client, &target)).await?;
    let seen = within(bound, open(&gateway, &session)).await;
    // What was opened is closed, whatever came of it.
    let deleted = within(bound, session.delete()).await;
    let (width, height) = seen.with_context(|| format!("the console of {target}"))?;
    println!("The console of {target} opens; its screen has {width} x {height} pixels.");
    deleted
}

async fn within<T>(bound: Duration, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let result = tokio::time::timeout(bound, work).await;
    result.with_context(|| format!("not within {} s; --timeout gives it more", bound.as_secs()))?
}

async fn aggregated_api(client: &Client) -> anyhow::Result<()> {
    let discovery = http::Request::get(API).body(Vec::new())?;
    let answer = client.request_text(discovery).await;
    answer.context(
        "kube-apiserver does not reach the aggregated API; look at its APIService and the Pods of the role apiserver",
    )?;
    Ok(())
}

async fn open(gateway: &CheckedGateway, session: &TestSession) -> anyhow::Result<(u16, u16)> {
    session.ready().await?;
    let token = session.token().await?;
    let mut stream = gateway.open(&token).await?;
    let size = screen::size(&mut stream).await?;
    if size.0 == 0 || size.1 == 0 {
        bail!("the screen has no pixels");
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CheckProgram {
        #[command(flatten)]
        check: CheckArguments,
    }

    #[test]
    fn a_target_is_named_by_its_kind_its_namespace_and_its_name() {
        let target: CheckTarget = "VncWorkspace/team/desk".parse().unwrap();
        assert_eq!(target.to_string(), "VncWorkspace team/desk");
        for bad in [
            "team/desk",
            "Pod/team/desk",
            "VmAccess//desk",
            "VmAccess/team/",
            "VmAccess/team/desk/x",
        ] {
            bad.parse::<CheckTarget>().unwrap_err();
        }
    }

    #[test]
    fn a_console_is_opened_by_the_aggregated_api_alone() {
        let parse = |further: &[&str]| {
            let line = ["novasphere", "--url", "https://a.example.com"].iter().chain(further);
            CheckProgram::try_parse_from(line).map(|program| program.check)
        };
        assert_eq!(parse(&[]).unwrap().timeout, 60);
        assert!(parse(&["--target", "VmAccess/a/b"]).is_err());
        assert!(parse(&["--api", "--target", "VmAccess/a/b"]).unwrap().target.is_some());
        assert!(parse(&["--timeout", "0"]).is_err());
    }
}
