// Renders /openapi.json: each operation with its fields, an example for a shell, and a try.

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function resolve(api, schema) {
  if (!schema || !schema.$ref) return schema || {};
  return schema.$ref.slice(2).split("/").reduce((at, key) => at[key], api);
}

function typeOf(api, schema) {
  if (schema.$ref) return typeOf(api, resolve(api, schema));
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const choices = schema.anyOf || schema.oneOf;
  if (choices) return [...new Set(choices.map((each) => typeOf(api, each)))].join(" | ");
  if (schema.type === "array") return `list of ${typeOf(api, schema.items || {})}`;
  return schema.format === "binary" ? "file" : schema.type || "anything";
}

function limitsOf(schema) {
  const told = { default: "default", minimum: "from", maximum: "to", maxLength: "characters at most" };
  return Object.entries(told)
    .filter(([key]) => schema[key] !== undefined && schema[key] !== null)
    .map(([key, words]) => `${words} ${JSON.stringify(schema[key])}`)
    .join(", ");
}

function fieldRows(api, schema) {
  const required = new Set(schema.required || []);
  return Object.entries(schema.properties || {}).map(([name, field]) => row(
    name, typeOf(api, field), required.has(name), field.description || limitsOf(field)));
}

function row(name, type, isRequired, about) {
  return element("tr", {},
    element("td", {}, element("code", { textContent: name }), isRequired ? " *" : ""),
    element("td", { textContent: type }),
    element("td", { textContent: about || "" }));
}

function table(rows) {
  const head = element("tr", {}, ...["field (* needed)", "type", ""].map(
    (text) => element("th", { textContent: text })));
  return element("table", {}, head, ...rows);
}

function shellExample(method, path, content) {
  const address = `${location.origin}${path}`;
  if (content.json) {
    const body = JSON.stringify(content.example || {}, null, 1).replaceAll("'", "'\\''");
    return `curl ${address} -H 'Content-Type: application/json' -d '${body}'`;
  }
  if (content.form) {
    const fields = (content.form.required || []).map((name) =>
      content.form.properties[name].format === "binary" || content.form.properties[name].contentMediaType
        ? `-F ${name}=@recording.wav` : `-F ${name}=...`);
    return `curl ${address} ${fields.join(" ")}`;
  }
  return `curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}${address}`;
}

async function send(method, path, body, output) {
  const headers = {};
  const key = document.getElementById("key").value;
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== null) headers["Content-Type"] = "application/json";
  output.textContent = "Waiting.";
  try {
    const answer = await fetch(path, { method: method.toUpperCase(), headers, body });
    const type = answer.headers.get("content-type") || "";
    if (/json|text/.test(type)) {
      output.textContent = `${answer.status} ${type}\n${await answer.text()}`;
      return;
    }
    const blob = await answer.blob();
    const link = element("a", {
      href: URL.createObjectURL(blob), download: `speech.${type.split("/").pop()}`,
      textContent: `save ${blob.size} bytes` });
    output.replaceChildren(`${answer.status} ${type} `, link);
  } catch (error) {
    output.textContent = String(error);
  }
}

function operationElement(api, path, method, operation) {
  const bodies = (operation.requestBody || {}).content || {};
  const json = bodies["application/json"];
  const form = bodies["multipart/form-data"];
  const schema = resolve(api, (json || form || {}).schema);
  const content = { json: Boolean(json), form: form && schema, example: schema.example };
  const rows = (operation.parameters || []).map((each) => row(
    each.name, `${typeOf(api, each.schema)}, ${each.in}`, each.required, each.description));
  rows.push(...fieldRows(api, schema));
  const answers = Object.entries(operation.responses || {}).map(
    ([status, each]) => `${status} ${each.description || ""}`).join("\n");
  const parts = [element("p", { textContent: operation.description || "" })];
  if (rows.length) parts.push(table(rows));
  parts.push(element("pre", { textContent: shellExample(method, path, content) }));
  parts.push(element("pre", { textContent: answers }));
  if (!form && !path.includes("{")) {
    const input = json && element("textarea", {
      rows: 8, value: JSON.stringify(schema.example || {}, null, 2), ariaLabel: "request body" });
    const output = element("pre", { textContent: "" });
    const button = element("button", { textContent: "Send" });
    button.addEventListener("click", () => send(method, path, input ? input.value : null, output));
    parts.push(...(input ? [input] : []), button, output);
  }
  return element("details", {},
    element("summary", {},
      element("span", { className: "method", textContent: method.toUpperCase() }),
      element("span", { className: "path", textContent: path }),
      operation.summary || ""),
    ...parts);
}

async function main() {
  const operations = document.getElementById("operations");
  try {
    const api = await (await fetch("openapi.json")).json();
    operations.replaceChildren(...Object.entries(api.paths).flatMap(([path, methods]) =>
      METHODS.filter((method) => methods[method]).map(
        (method) => operationElement(api, path, method, methods[method]))));
  } catch (error) {
    operations.textContent = `The description could not be read: ${error}`;
  }
}

main();
