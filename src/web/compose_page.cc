#include "web/compose_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "error.h"
#include "reference/reference.h"
#include "text/encoding.h"
#include "text/public_text.h"

namespace nixery::web {

namespace {

std::string escaped(std::string_view text) {
  std::string html;
  for (const char c : text) switch (c) {
      case '&': html += "&amp;"; break;
      case '<': html += "&lt;"; break;
      case '>': html += "&gt;"; break;
      case '"': html += "&quot;"; break;
      case '\'': html += "&#39;"; break;
      default: html += c;
    }
  return html;
}

// A field of a form (application/x-www-form-urlencoded).
std::string field(std::string_view query, std::string_view name) {
  std::string value(http::query_parameter(query, name).value_or(""));
  std::replace(value.begin(), value.end(), '+', ' ');
  if (auto decoded = text::percent_decode(value)) return *std::move(decoded);
  throw Error(Failure::bad_query, fmt::format("the field '{}' has a malformed %-escape", name));
}

struct Composed {
  std::string name, tag;
  bool has_shell = false;
};

Composed compose(std::string_view query) {
  Composed composed;
  const std::string encoding = field(query, "encoding"), platform = field(query, "platform");
  const std::string packages = field(query, "packages");
  composed.tag = field(query, "tag");
  if (composed.tag.empty()) composed.tag = "latest";
  composed.has_shell = !field(query, "shell").empty();
  std::vector<std::string> parts;
  for (const std::string& part : {encoding, platform, std::string(composed.has_shell ? "shell" : "")})
    if (!part.empty()) parts.push_back(part);
  constexpr std::string_view separators = " ,/\t\r\n";
  for (std::size_t start = 0; (start = packages.find_first_not_of(separators, start)) != packages.npos;) {
    const auto end = std::min(packages.find_first_of(separators, start), packages.size());
    parts.push_back(text::lower_case(std::string_view(packages).substr(start, end - start)));
    start = end;
  }
  // As the first component, these would choose the layers' encoding.
  std::stable_partition(parts.begin() + (encoding.empty() ? 0 : 1), parts.end(),
                        [](const std::string& part) { return part != "zstd" && part != "gzip"; });
  if (parts.empty()) throw Error(Failure::bad_name, "name at least one package, such as git");
  for (const std::string& part : parts) composed.name += (composed.name.empty() ? "" : "/") + part;
  reference::parse(composed.name, composed.tag);
  return composed;
}

std::string page(std::string_view title, std::string_view body) {
  return fmt::format(R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{0} – Nixery</title>
<link rel="icon" href="/web/icon.svg">
<link rel="stylesheet" href="/web/nixery.css">
</head>
<body>
<header class="top"><a class="brand" href="/"><img src="/web/icon.svg" alt="" width="28" height="28"> Nixery</a></header>
<main class="page">
<h1>{0}</h1>
{1}
<p><a href="/">Compose another image</a></p>
</main>
</body>
</html>
)",
                     title, body);
}

std::string command(std::string_view what, std::string_view line) {
  return fmt::format("<h2>{}</h2>\n<pre class=\"command\"><code>{}</code></pre>\n", what, escaped(line));
}

std::string commands_for(const Composed& composed, const http::Request& request) {
  const std::string image = fmt::format("{}/{}{}", http::shown_host(request), composed.name,
                                        composed.tag == "latest" ? "" : ":" + composed.tag);
  const std::string_view program = composed.has_shell ? " bash" : "";
  const bool plain = request.scheme == "http";  // clients need an option for it
  return fmt::format("<p>This image is <code>{}</code>. The first pull builds it.</p>\n", escaped(image)) +
         command("Docker", fmt::format("docker run --rm -it {}{}", image, program)) +
         command("Podman",
                 fmt::format("podman run --rm -it {}{}{}", plain ? "--tls-verify=false " : "", image, program)) +
         command("Kubernetes", fmt::format("kubectl run nixery --rm -it --image={}{}{}", image,
                                           composed.has_shell ? " --" : "", program)) +
         command("skopeo", fmt::format("skopeo copy {}docker://{} docker-archive:image.tar",
                                       plain ? "--src-tls-verify=false " : "", image));
}

}  // namespace

http::Response compose_page(const http::Request& request) {
  http::Response response;
  response.header("Content-Type", "text/html; charset=utf-8");
  try {
    response.body = page("Your image", commands_for(compose(request.query), request));
  } catch (const Error& error) {
    response.status = 400;
    response.body =
        page("Invalid image", fmt::format("<p class=\"wrong\">{}</p>", escaped(text::public_text(error.what()))));
  }
  return response;
}

}  // namespace nixery::web
