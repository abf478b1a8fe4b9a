//! The list of machines, page by page.

use std::{cmp::Ordering, collections::BTreeSet, sync::Arc};

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::visible::{VisibleMachines, wanted_namespace};
use crate::{
    authorization::Listed,
    caller::Caller,
    envelope::{Answer, Envelope},
    error::{ApiError, ApiResult},
    http::Query,
    state::ApiState,
    time::AnswerTimeZone,
    watches::{MachineKind, MachineRow, MachineStatus, ServiceInfo},
};

/// Rows of a page.
const PAGE_SIZE_LIMIT: usize = 200;

/// Rows of a page when none is asked for.
const DEFAULT_PAGE_SIZE: usize = 10;

/// Characters that are looked for in names.
const NAME_LIKE_LENGTH_LIMIT: usize = 253;

/// What of the list is wanted.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MachineQuery {
    /// The page, from 1. Default 1.
    #[param(minimum = 1, maximum = 1_000_000)]
    #[serde(default)]
    page: Option<usize>,
    /// Rows of a page. Default 10.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default)]
    page_size: Option<usize>,
    /// Of one namespace alone.
    #[param(min_length = 1, max_length = 63)]
    #[serde(default)]
    namespace: Option<String>,
    /// In one state alone.
    #[serde(default)]
    status: Option<MachineStatus>,
    /// A part of the name; case does not matter.
    #[param(min_length = 1, max_length = 253)]
    #[serde(default)]
    name_like: Option<String>,
    /// By what the list is sorted. Default `createTime`.
    #[serde(default)]
    sort_by: Option<MachineSort>,
    /// In which direction. Default `desc`.
    #[serde(default)]
    sort_order: Option<SortOrder>,
}

/// By what a list of machines is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum MachineSort {
    /// The time when it was made.
    #[default]
    CreateTime,
    /// The name.
    Name,
    /// The state.
    Status,
}

/// The direction of a sorted list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SortOrder {
    /// The smallest first.
    Asc,
    /// The largest first.
    #[default]
    Desc,
}

/// A page of machines.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MachinePage {
    /// Rows of all pages.
    total: usize,
    /// Pages.
    pages: usize,
    /// The rows of this page.
    list: Vec<MachineSummary>,
}

/// A machine in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MachineSummary {
    /// UID of the `VmAccess`, or `<namespace>..<name>` of a machine without one.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
    /// Its namespace.
    pub(super) namespace: String,
    /// Its state.
    pub(super) status: MachineStatus,
    /// Its state in KubeVirt's words.
    pub(super) printable_status: String,
    /// What it is known by.
    pub(super) kind: MachineKind,
    /// Virtual processors.
    #[serde(rename = "vCPU")]
    pub(super) vcpu: Option<u32>,
    /// Memory in MB (2^20 bytes).
    pub(super) memory: Option<u64>,
    /// The image of the root disk.
    pub(super) image: Option<String>,
    /// When it was made, `yyyy-MM-dd HH:mm:ss`.
    pub(super) create_time: String,
    /// The same by RFC 3339.
    #[schema(format = DateTime)]
    pub(super) create_at: String,
    /// The node that it runs on.
    pub(super) node_name: Option<String>,
    /// An address of the guest.
    pub(super) access_ip: Option<String>,
    /// Its first Service.
    pub(super) service_info: Option<ServiceInfo>,
    /// Who looks at its consoles now.
    pub(super) viewers: Vec<String>,
}

impl MachineSummary {
    pub(super) fn of(row: &MachineRow, viewers: Vec<String>, zone: &AnswerTimeZone) -> Self {
        Self {
            id: row.id.clone(),
            name: row.name.clone(),
            namespace: row.namespace.clone(),
            status: row.status,
            printable_status: row.printable.clone(),
            kind: row.kind,
            vcpu: row.vcpu,
            memory: row.memory_mb,
            image: row.image.clone(),
            create_time: zone.text(row.created),
            create_at: row.created.to_string(),
            node_name: row.node.clone(),
            access_ip: row.access_ip.clone(),
            service_info: row.service.clone(),
            viewers,
        }
    }
}

/// The machines that I may see.
#[utoipa::path(get, path = "/vms", tag = "machines", operation_id = "listMachines", params(MachineQuery),
    responses((status = 200, body = Envelope<MachinePage>)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    Query(query): Query<MachineQuery>,
) -> ApiResult<Answer<MachinePage>> {
    let wanted = Wanted::read(&query)?;
    let visible = VisibleMachines::look(&state, &caller, query.namespace.as_deref()).await?;
    let rows = state.watched.machines();
    let rows = rows.into_iter().filter(|row| visible.contains(row));
    let page = wanted.page(rows);
    // Who looks is told to those alone who may list sessions.
    let shown: BTreeSet<String> = page.rows.iter().map(|row| row.namespace.clone()).collect();
    let watched = state
        .authorization
        .visible(&caller, Listed::Sessions, shown, &state.watched)
        .await?;
    let in_use = state.watched.sessions_in_use();
    let list = page.rows.iter().map(|row| {
        let viewers = if watched.contains(&row.namespace) {
            super::console::viewers(&in_use, row)
        } else {
            Vec::new()
        };
        MachineSummary::of(row, viewers, &state.time_zone)
    });
    let list = list.collect();
    let answer = MachinePage {
        total: page.total,
        pages: page.total.div_ceil(wanted.page_size),
        list,
    };
    Ok(Answer::new(answer))
}

/// A query that was looked at.
struct Wanted {
    page: usize,
    page_size: usize,
    namespace: Option<String>,
    status: Option<MachineStatus>,
    name_like: Option<String>,
    sort: MachineSort,
    order: SortOrder,
}

struct Page {
    total: usize,
    rows: Vec<Arc<MachineRow>>,
}

impl Wanted {
    fn read(query: &MachineQuery) -> ApiResult<Self> {
        wanted_namespace(query.namespace.as_deref())?;
        let page = query.page.unwrap_or(1);
        if !(1..=1_000_000).contains(&page) {
            return Err(ApiError::parameter("page", "page is a number from 1"));
        }
        let page_size = query.page_size.unwrap_or(DEFAULT_PAGE_SIZE);
        if !(1..=PAGE_SIZE_LIMIT).contains(&page_size) {
            return Err(ApiError::parameter(
                "pageSize",
                format!("pageSize is a number from 1 to {PAGE_SIZE_LIMIT}"),
            ));
        }
        if query
            .name_like
            .as_ref()
            .is_some_and(|name| name.len() > NAME_LIKE_LENGTH_LIMIT)
        {
            return Err(ApiError::parameter("nameLike", "nameLike is longer than any name"));
        }
        Ok(Self {
            page,
            page_size,
            namespace: query.namespace.clone(),
            status: query.status,
            name_like: query.name_like.as_ref().map(|name| name.to_lowercase()),
            sort: query.sort_by.unwrap_or_default(),
            order: query.sort_order.unwrap_or_default(),
        })
    }

    fn takes(&self, row: &MachineRow) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == row.namespace)
            && self.status.is_none_or(|status| status == row.status)
            && self
                .name_like
                .as_ref()
                .is_none_or(|part| row.name.contains(part.as_str()))
    }

    /// The order is total, so that no row is on two pages: namespace and name decide last.
    fn compare(&self, one: &MachineRow, other: &MachineRow) -> Ordering {
        let by_name = (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name));
        let ordering = match self.sort {
            MachineSort::CreateTime => one.created.cmp(&other.created),
            MachineSort::Name => one.name.cmp(&other.name),
            MachineSort::Status => one.status.cmp(&other.status),
        };
        let ordering = ordering.then(by_name);
        match self.order {
            SortOrder::Asc => ordering,
            SortOrder::Desc => ordering.reverse(),
        }
    }

    fn page(&self, rows: impl Iterator<Item = Arc<MachineRow>>) -> Page {
        let mut rows: Vec<_> = rows.filter(|row| self.takes(row)).collect();
        let total = rows.len();
        let first = (self.page - 1).saturating_mul(self.page_size);
        let last = first.saturating_add(self.page_size);
        // All that come before the page's end have to be known, but only the page has to be in order.
        if last < rows.len() {
            rows.select_nth_unstable_by(last, |one, other| self.compare(one, other));
            rows.truncate(last);
        }
        rows.sort_unstable_by(|one, other| self.compare(one, other));
        Page {
            total,
            rows: rows.split_off(first.min(rows.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    fn row(number: i64, status: MachineStatus) -> Arc<MachineRow> {
        Arc::new(MachineRow {
            id: number.to_string(),
            kind: MachineKind::VmAccess,
            namespace: "team".to_owned(),
            name: format!("web-{number:03}"),
            machine: format!("web-{number:03}"),
            status,
            printable: String::new(),
            vcpu: None,
            memory_mb: None,
            image: None,
            created: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(number),
            node: None,
            access_ip: None,
            service: None,
            is_owned: false,
        })
    }

    fn rows() -> impl Iterator<Item = Arc<MachineRow>> {
        let status = |number: i64| {
            if number % 2 == 0 {
                MachineStatus::Running
            } else {
                MachineStatus::Stopped
            }
        };
        (0..25).map(move |number| row(number, status(number)))
    }

    fn ids(query: &MachineQuery) -> (usize, Vec<String>) {
        let page = Wanted::read(query).unwrap().page(rows());
        (page.total, page.rows.iter().map(|row| row.id.clone()).collect())
    }

    #[test]
    fn pages_are_cut_out_of_the_whole_order() {
        let query = |page| MachineQuery {
            page: Some(page),
            page_size: Some(10),
            ..MachineQuery::default()
        };
        let (total, first) = ids(&query(1));
        assert_eq!(
            (total, first.len(), first[0].as_str()),
            (25, 10, "24"),
            "the youngest first"
        );
        let (_, last) = ids(&query(3));
        assert_eq!(last, ["4", "3", "2", "1", "0"]);
        assert!(ids(&query(4)).1.is_empty());
    }

    #[test]
    fn filters_and_sort_are_those_of_the_query() {
        let query = MachineQuery {
            status: Some(MachineStatus::Running),
            name_like: Some("WEB-00".to_owned()),
            sort_by: Some(MachineSort::Name),
            sort_order: Some(SortOrder::Asc),
            ..MachineQuery::default()
        };
        assert_eq!(ids(&query), (5, ["0", "2", "4", "6", "8"].map(str::to_owned).to_vec()));
        let query = MachineQuery {
            namespace: Some("other".to_owned()),
            ..MachineQuery::default()
        };
        assert_eq!(ids(&query).0, 0);
    }

    #[test]
    fn what_cannot_be_a_namespace_is_refused() {
        for bad in ["", "a.b", "A", "x".repeat(64).as_str()] {
            let query = MachineQuery {
                namespace: Some(bad.to_owned()),
                ..MachineQuery::default()
            };
            assert!(Wanted::read(&query).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_page_is_refused() {
        for (page, page_size) in [
            (Some(0), None),
            (None, Some(0)),
            (None, Some(201)),
            (Some(2_000_000), None),
        ] {
            let query = MachineQuery {
                page,
                page_size,
                ..MachineQuery::default()
            };
            assert!(Wanted::read(&query).is_err(), "{page:?} {page_size:?}");
        }
    }
}
