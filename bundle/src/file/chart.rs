//! The worker's manifests as a Helm chart. The template is the manifests themselves, with an expression in place of
//! each field that users set. It takes text and returns text, and must touch no file.

#[cfg(test)]
mod tests;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::checks;

/// The namespace in the manifests. URLs, queries and the subject of the RoleBinding name it.
const NAMESPACE: &str = "documents";
/// The start of the words that stand for expressions while the template is YAML.
const WORD: &str = "HELM_EXPRESSION_";
/// In an expression, the column of the lines below it.
const COLUMN: &str = "{column}";

/// The groups of values in their order, each with its comment.
const GROUPS: [(&str, &str); 6] = [
    ("images", "# The image of each container, by its digest.\n"),
    ("minReplicaCount", "# The autoscaler keeps at least so many workers.\n"),
    ("maxReplicaCount", "# The autoscaler starts at most so many workers.\n"),
    (
        "env",
        "# The variables of each container. Write numbers in quotes. A new name adds a variable, and null removes one.\n\
         # A variable that is set here is not read from a Secret.\n",
    ),
    ("resources", "# The CPU and memory of each container.\n"),
    (
        "existingSecrets",
        "# The Secrets, by the names in the documentation. The chart creates none. If yours have other names, write\n\
         # them here.\n",
    ),
];

/// The chart's files: the name below the chart's folder, and the text.
///
/// # Errors
/// When the manifests are not valid YAML.
pub(super) fn files(manifests: &str, version: &str) -> Result<[(&'static str, String); 3]> {
    let mut objects = checks::parse(manifests).context("the worker's manifests are not valid YAML")?;
    let mut chart = Chart::default();
    objects.iter_mut().for_each(|object| chart.visit("", object));
    let texts = objects.iter().map(|object| Ok(format!("---\n{}", serde_norway::to_string(object)?)));
    let template = texts.collect::<Result<String>>()?.lines().map(|line| chart.fill(line) + "\n").collect();
    let about = format!(
        "apiVersion: v2\nname: temporal-worker\ndescription: Autoscaled Temporal workers\ntype: application\n\
         version: \"{version}\"\nappVersion: \"{version}\"\n"
    );
    Ok([("Chart.yaml", about), ("values.yaml", chart.values_file()?), ("templates/worker.yaml", template)])
}

/// What is taken out of the manifests.
#[derive(Default)]
struct Chart {
    values: Value,
    /// Each stands at its word, which has its index. One that starts with `{{-` takes the place of a whole item.
    expressions: Vec<String>,
}

impl Chart {
    /// Replaces what users set below a field, or below an item of it.
    fn visit(&mut self, field: &str, value: &mut Value) {
        match value {
            Value::Number(_) if matches!(field, "minReplicaCount" | "maxReplicaCount") => {
                let expression = self.word(format!("{{{{ .Values.{field} }}}}"));
                self.values[field] = std::mem::replace(value, expression.into());
            }
            Value::String(text) if field == "secretName" => self.secret(text),
            Value::String(text) if field == "namespace" && text == NAMESPACE => {
                *text = self.word("{{ .Release.Namespace | quote }}");
            }
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => {
                for item in items {
                    if matches!(field, "containers" | "initContainers") {
                        self.container(item);
                    }
                    self.visit(field, item);
                }
            }
            Value::Object(fields) => {
                let secret = matches!(field, "secretKeyRef" | "secretRef" | "secretTargetRef");
                for (name, value) in fields {
                    match value {
                        Value::String(text) if secret && name == "name" => self.secret(text),
                        value => self.visit(name, value),
                    }
                }
            }
            _ => {}
        }
    }

    fn container(&mut self, container: &mut Value) {
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        if let Some(image) = container.get_mut("image") {
            let expression = self.word(format!("{{{{ index .Values.images {name:?} | quote }}}}"));
            self.values["images"][&name] = std::mem::replace(image, expression.into());
        }
        if let Some(resources) = container.get_mut("resources") {
            let expression = format!("{{{{- toYaml (index .Values.resources {name:?}) | nindent {COLUMN} }}}}");
            self.values["resources"][&name] = std::mem::replace(resources, self.word(expression).into());
        }
        if let Some(Value::Array(variables)) = container.get_mut("env") {
            *variables = self.env(&name, std::mem::take(variables));
        }
    }

    /// Variables with those of the values in the same places, and those that only the values have at the end.
    fn env(&mut self, container: &str, variables: Vec<Value>) -> Vec<Value> {
        let env = format!("index .Values.env {container:?} | default dict");
        let mut items = vec![self.word(format!("{{{{- $env := {env} }}}}")).into()];
        let mut known = String::new();
        for mut variable in variables {
            let name = variable["name"].as_str().unwrap_or_default().to_owned();
            let mut condition = format!("hasKey $env {name:?}");
            if let Some(value) = variable.get_mut("value") {
                let expression = self.word(format!("{{{{ get $env {name:?} | quote }}}}"));
                self.values["env"][container][&name] = std::mem::replace(value, expression.into());
                known += &format!(" {name:?}");
            } else {
                condition = format!("not ({condition})");
            }
            items.extend([self.word(format!("{{{{- if {condition} }}}}")).into(), variable, self.end()]);
        }
        let others = self.word(format!(
            "{{{{- range $name, $value := omit $env{known} }}}}{{{{- if not (kindIs \"invalid\" $value) }}}}"
        ));
        let [name, value] = ["{{ $name }}", "{{ $value | quote }}"].map(|expression| self.word(expression));
        items.extend([others.into(), json!({"name": name, "value": value}), self.end(), self.end()]);
        items
    }

    fn end(&mut self) -> Value {
        self.word("{{- end }}").into()
    }

    fn secret(&mut self, name: &mut String) {
        self.values["existingSecrets"][&*name] = json!(name);
        *name = self.word(format!("{{{{ index .Values.existingSecrets {name:?} | quote }}}}"));
    }

    /// Text with the namespace of the release in URLs and queries.
    fn text(&mut self, text: &str) -> String {
        let places = [(".", ".svc"), ("namespace=\"", "\"")];
        places.iter().fold(text.to_owned(), |text, (before, after)| {
            let found = format!("{before}{NAMESPACE}{after}");
            if !text.contains(&found) {
                return text;
            }
            text.replace(&found, &format!("{before}{}{after}", self.word("{{ .Release.Namespace }}")))
        })
    }

    /// The word that stands for an expression.
    fn word(&mut self, expression: impl Into<String>) -> String {
        self.expressions.push(expression.into());
        word(self.expressions.len() - 1)
    }

    /// A line of the template with the expressions in place of their words. What was there before stays text.
    fn fill(&self, line: &str) -> String {
        let column = line.len() - line.trim_start().len() + 2;
        let expressions = self.expressions.iter().enumerate();
        expressions.fold(line.replace("{{", "{{ \"{{\" }}"), |line, (index, expression)| {
            let (word, expression) = (word(index), expression.replace(COLUMN, &column.to_string()));
            let line =
                if expression.starts_with("{{-") { line.replace(&format!("- {word}"), &expression) } else { line };
            line.replace(&word, &expression)
        })
    }

    fn values_file(&self) -> Result<String> {
        let groups = GROUPS.iter().filter_map(|(name, comment)| Some((name, comment, self.values.get(name)?)));
        let texts = groups.map(|(name, comment, value)| {
            Ok(format!("{comment}{}", serde_norway::to_string(&json!({ *name: value }))?))
        });
        Ok(texts.collect::<Result<Vec<_>>>()?.join("\n"))
    }
}

fn word(index: usize) -> String {
    format!("{WORD}{index}_")
}
