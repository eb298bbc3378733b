#!/usr/bin/env python3
"""Holds the dashboard and the rules in dashboards/ to what they are for, for prometheus.sh.

  lint DASHBOARD           the dashboard by itself: ids, titles, descriptions, units, data sources, variables, places
  alerts ALERTS GUIDE TEST...
                           each alert has a severity, a summary, a description and its part of the guide, and the tests see
                           it quiet and firing
  value URL QUERY          the value that the Prometheus at URL has for it; nothing where it has none
  firing URL [NAME...]     the names of the alerts that fire there but for these, in order, with spaces between
  evaluate URL DASHBOARD   all queries of the dashboard, its variables, and of the rules that are loaded there: no error, data
                           where there should be, labels that are there; every metric that is named is told

What is wrong is printed, a line each; the exit status is 1 then.
"""

import json
import math
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# Queries that may have no data in the lab: by panel or rule, the reason.
MAY_BE_EMPTY = {
    "Active gateway (failsafe mode)": "the lab is in load-balancing mode",
    "A gateway went down": "an annotation for the minute in which one does",
    "instance:vestibule_config_refused_timestamp_seconds:max1d": "no reload is refused",
    "VestibuleConfigReloadFailed": "no reload is refused",
}
# So long it may take until rates of 5 minutes, and what is derived from them, are there.
PATIENCE_SECONDS = 60
VARIABLE = re.compile(r"\$\{?(\w+)\}?")
# Names of metrics and recording rules, outside of quotes
NAME = re.compile(r"(?<![\w:$\"])(?:[a-z]\w*:[\w:]+|vestibule_\w+|process_\w+|up|ALERTS)(?![\w:(\"])")
SELECTOR = re.compile(NAME.pattern + r"(?:\{[^}]*\})?")

wrong = []


def complain(text):
    """Notes what is wrong."""
    wrong.append(text)
    print(text)


def panels_of(dashboard):
    """All panels but rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def lint(path):
    """The dashboard by itself."""
    with open(path, encoding="utf-8") as file:
        dashboard = json.load(file)
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    for name in ("datasource", "job", "farm", "instance", "listener", "gateway"):
        if name not in variables:
            complain(f"there is no variable {name}")
    if variables.get("job", {}).get("allValue"):
        complain("variable job: its 'All' is every job of that Prometheus, and not those of front doors alone")
    if dashboard["id"] is not None or not dashboard["uid"] or not 37 <= dashboard["schemaVersion"] <= 39:
        complain("it does not import cleanly into Grafana 10: id, uid or schemaVersion")
    ids, places = set(), set()
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in dashboard["panels"]:
        title = panel.get("title") or f"panel {panel['id']}"
        if panel["id"] in ids or not panel.get("title"):
            complain(f"{title}: its id is another one's as well, or it has no title")
        ids.add(panel["id"])
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        if place["x"] + place["w"] > 24 or cells & places:
            complain(f"{title}: it lies over another panel, or beyond the edge")
        places |= cells
    titles = [panel["title"] for panel in panels_of(dashboard)]
    for title in {title for title in titles if titles.count(title) > 1}:
        complain(f"{title}: two panels have this title")
    for panel in panels_of(dashboard):
        title = panel["title"]
        if len(panel.get("description", "")) < 20:
            complain(f"{title}: no description that says what to do")
        if not panel["fieldConfig"]["defaults"].get("unit"):
            complain(f"{title}: no unit")
        if panel["datasource"] != source or any(target["datasource"] != source for target in panel["targets"]):
            complain(f"{title}: a data source other than the variable")
        if not panel["targets"] or len({target["refId"] for target in panel["targets"]}) != len(panel["targets"]):
            complain(f"{title}: no query, or two of one name")
        for target in panel["targets"]:
            for name in VARIABLE.findall(target["expr"]):
                if name not in variables and name != "__rate_interval":
                    complain(f"{title}: there is no variable {name}")
            if "farm" not in VARIABLE.findall(target["expr"]):
                complain(f"{title}: it adds up all farms of that Prometheus")
    text = json.dumps(dashboard)
    for address in re.findall(r"https?://[^\"\s]+", text):
        complain(f"it points to {address}")


def alerts(path, guide, tests):
    """Each alert is complete, and seen both ways. The files are of a shape that needs no YAML parser."""
    with open(path, encoding="utf-8") as file:
        blocks = re.split(r"^      - alert: ", file.read(), flags=re.M)[1:]
    quiet, firing = set(), set()
    for test in tests:
        with open(test, encoding="utf-8") as file:
            text = file.read()
        quiet |= set(re.findall(r"alertname: (\w+)\n +exp_alerts: \[\]", text))
        firing |= set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n +- exp_labels", text))
    names = [block.split("\n", 1)[0] for block in blocks]
    with open(guide, encoding="utf-8") as file:
        explained = set(re.findall(r"^### Alert (\w+)$", file.read(), flags=re.M))
    if not names or len(set(names)) != len(names):
        complain("no alerts, or two of one name")
    for name, block in zip(names, blocks):
        for key in (r"severity: (critical|warning|info)\n", "summary: .", "description: .",
                    f"runbook: docs/operations.md#alert-{name.lower()}\n"):
            if not re.search(key, block):
                complain(f"{name}: there is no {key}")
        if name not in quiet or name not in firing:
            complain(f"{name}: no test sees it quiet, or none sees it firing")
        if name not in explained:
            complain(f"{name}: the guide does not say what it means")
    for name in explained - set(names):
        complain(f"{name}: in the guide, and not there")
    for name in (quiet | firing) - set(names):
        complain(f"{name}: tested, and not there")


def ask(url, path, **parameters):
    """What Prometheus answers; the text of its error as an exception."""
    request = f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise ValueError(json.load(error)["error"]) from None


def samples(url, query):
    """The labels and values of a query, without those that are no number."""
    result = ask(url, "query", query=query)["result"]
    return [(one["metric"], one["value"][1]) for one in result if not math.isnan(float(one["value"][1]))]


def filled_in(query):
    """A query as Grafana sends it when everything is chosen."""
    query = query.replace("$__rate_interval", "20s").replace("$job", "vestibule")
    return VARIABLE.sub(".*", query)


def grafana_queries(dashboard):
    """Of panels and annotations: where, query, legend."""
    for panel in panels_of(dashboard):
        for target in panel["targets"]:
            yield panel["title"], filled_in(target["expr"]), target["legendFormat"]
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], filled_in(annotation["expr"]), annotation["titleFormat"]


def rules_of(url):
    """Those that are loaded."""
    return [rule for group in ask(url, "rules")["groups"] for rule in group["rules"]]


def empty_ones(url, queries):
    """Those of (where, query, legend) that have no data, or not all labels of the legend, with the reason."""
    for where, query, legend in queries:
        try:
            found = samples(url, query)
        except ValueError as error:
            yield where, query, legend, str(error)
            continue
        labels = set(re.findall(r"\{\{(\w+)\}\}", legend))
        if not found:
            yield where, query, legend, "no data"
        elif labels - {label for metric, _ in found for label in metric}:
            yield where, query, legend, f"no label of {sorted(labels)}"


def evaluate(url, path):
    """Everything that Prometheus is asked."""
    with open(path, encoding="utf-8") as file:
        dashboard = json.load(file)
    queries = list(grafana_queries(dashboard))
    rules = rules_of(url)
    for rule in rules:
        if rule["type"] == "recording":
            queries.append((rule["name"], rule["name"], ""))
        else:
            # An alert has no data while all is well; what it looks at has.
            queries += [(rule["name"], selector, "") for selector in set(SELECTOR.findall(rule["query"]))]
            queries.append((rule["name"], f"({rule['query']}) or vector(0)", ""))
    deadline = time.monotonic() + PATIENCE_SECONDS
    pending = queries
    while True:
        bad = [one for one in empty_ones(url, pending)
               if not (one[0] in MAY_BE_EMPTY and one[3] == "no data")]
        if not bad or time.monotonic() > deadline:
            break
        pending = [one[:3] for one in bad]
        time.sleep(0.5)
    for where, query, _, why in bad:
        complain(f"{where}: {why}: {query}")
    for rule in rules_of(url):
        if rule["health"] != "ok":
            complain(f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}")
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            values = ask(url, f"label/{label}/values", **{"match[]": filled_in(selector)})
            if not values:
                complain(f"variable {variable['name']}: no values")
    told = set(ask(url, "label/__name__/values"))
    recorded = {rule["name"] for rule in rules if rule["type"] == "recording"}
    texts = [query for _, query, _ in queries] + [rule["query"] for rule in rules]
    for name in sorted({name for text in texts for name in NAME.findall(text)} - told - recorded):
        if name != "vestibule_gateway_active":  # failsafe mode alone tells it
            complain(f"{name}: nobody tells it")
    dead = {name for name in MAY_BE_EMPTY if name not in {where for where, _, _ in queries}}
    for name in dead:
        complain(f"{name}: may be empty, and is not there")
    print(f"{len(queries)} queries of {len(panels_of(dashboard))} panels and {len(rules)} rules")


def main():
    """One command."""
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "lint":
        lint(arguments[0])
    elif command == "alerts":
        alerts(arguments[0], arguments[1], arguments[2:])
    elif command == "value":
        print(*[value for _, value in samples(arguments[0], arguments[1])])
    elif command == "firing":
        found = samples(arguments[0], 'ALERTS{alertstate="firing"}')
        print(*sorted({metric["alertname"] for metric, _ in found} - set(arguments[1:])))
    elif command == "evaluate":
        evaluate(*arguments)
    else:
        sys.exit(__doc__)
    sys.exit(1 if wrong else 0)


main()
