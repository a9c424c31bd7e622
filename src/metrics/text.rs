//! The two formats in which Prometheus reads figures.

/// What a scraper accepts that reads the format of OpenMetrics.
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text";

/// The type of what [`prometheus_client`] writes.
pub(super) const OPEN_METRICS_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The type of what [`plain`] gives.
pub(super) const PLAIN_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The same figures in Prometheus' own text format. There a family is called as its samples are:
/// the suffix that OpenMetrics has on the samples of a counter is in HELP and TYPE too, and the
/// type `info` is a gauge.
pub(super) fn plain(open_metrics: &str) -> String {
    let mut plain = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let words = help.strip_prefix(name).unwrap_or_default();
            plain.push_str(&format!("# HELP {name}{suffix}{words}\n"));
            plain.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_infos_are_called_as_their_samples() {
        let open = "# HELP calls Calls.\n# TYPE calls counter\ncalls_total{a=\"# HELP\"} 1\n\
                    # HELP build It.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n\
                    # HELP depth_seconds Depth.\n# TYPE depth_seconds histogram\n\
                    # UNIT depth_seconds seconds\ndepth_seconds_sum 0.0\n# EOF\n";
        let wanted = "# HELP calls_total Calls.\n# TYPE calls_total counter\n\
                      calls_total{a=\"# HELP\"} 1\n\
                      # HELP build_info It.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n\
                      # HELP depth_seconds Depth.\n# TYPE depth_seconds histogram\n\
                      depth_seconds_sum 0.0\n";
        assert_eq!(plain(open), wanted);
    }
}
