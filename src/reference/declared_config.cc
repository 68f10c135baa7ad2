#include "reference/declared_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "reference/declared_fields.h"
#include "reference/declared_reader.h"
#include "text/plain_text.h"

namespace nixery::reference {

namespace {

using json::Value;

class ConfigReader {
 public:
  ConfigReader(FieldReader& reader, const Accounts& accounts) : reader_(reader), accounts_(accounts) {}

  ImageConfig config(const Value& value);

 private:
  void commands(const Value& value);
  void variable(const std::string& where, std::string_view name, std::string value);
  void env(const Value& value);
  void user(const Value& value);
  void workdir(const Value& value);
  void labels(const Value& value);
  void exposed_ports(const Value& value);
  void stop_signal(const Value& value);
  void volumes(const Value& value);
  void shell(const Value& value);
  void healthcheck(const Value& value);
  std::vector<std::string> test(const Value& value);
  std::chrono::milliseconds duration(const Value& object, const char* field);

  FieldReader& reader_;
  const Accounts& accounts_;
  ImageConfig config_;
};

void ConfigReader::commands(const Value& value) {
  const Value* entrypoint = json::find(value, "entrypoint");
  const Value* cmd = json::find(value, "cmd");
  if (entrypoint) config_.entrypoint = reader_.arguments(*entrypoint, "config.entrypoint");
  if (cmd) config_.cmd = reader_.arguments(*cmd, "config.cmd");
  // The program to start is the first word of entrypoint and cmd.
  const bool has_entrypoint = entrypoint && entrypoint->IsArray() && !entrypoint->Empty();
  const Value* words = has_entrypoint ? entrypoint : cmd;
  if (words && words->IsArray() && !words->Empty() && (*words)[0].IsString() && view((*words)[0]).empty())
    reader_.refuse(has_entrypoint ? "config.entrypoint[0]" : "config.cmd[0]",
                   "this is empty: name the program to start");
}

void ConfigReader::variable(const std::string& where, std::string_view name, std::string value) {
  if (!is_variable_name(name))
    reader_.refuse(
        where, fmt::format("{} is not a variable's name: letters, digits, '_', '.' and '-', not starting with a digit",
                           text::in_quotes(name)));
  else if (!config_.env.emplace(name, std::move(value)).second)
    reader_.refuse(where, fmt::format("the variable {} is given twice", text::in_quotes(name)));
}

void ConfigReader::env(const Value& value) {
  constexpr std::string_view wanted = "an object, such as {\"LANG\": \"C\"}, or a list, such as [\"LANG=C\"]";
  if (value.IsArray()) {
    for (const Item& item : reader_.texts(value, "config.env", max_variables, wanted)) {
      const auto equals = item.text.find('=');
      if (equals == std::string::npos)
        reader_.refuse(item.where, fmt::format("{} has no '=': give NAME=value", text::in_quotes(item.text)));
      else
        variable(item.where, item.text.substr(0, equals), item.text.substr(equals + 1));
    }
    return;
  }
  if (!reader_.is_object(value, "config.env", wanted)) return;
  if (value.MemberCount() > max_variables) {
    reader_.refuse("config.env",
                   fmt::format("{} variables; at most {} are allowed", value.MemberCount(), max_variables));
    return;
  }
  for (const auto& member : value.GetObject()) {
    const std::string where = fmt::format("config.env[{}]", text::in_quotes(view(member.name)));
    if (auto given = reader_.text(member.value, where, "its value in quotes"))
      variable(where, view(member.name), *std::move(given));
  }
}

void ConfigReader::labels(const Value& value) {
  if (!reader_.is_object(value, "config.labels", "an object, such as {\"team\": \"web\"}")) return;
  if (value.MemberCount() > max_labels) {
    reader_.refuse("config.labels", fmt::format("{} labels; at most {} are allowed", value.MemberCount(), max_labels));
    return;
  }
  for (const auto& member : value.GetObject()) {
    const std::string_view name = view(member.name);
    const std::string where = fmt::format("config.labels[{}]", text::in_quotes(name));
    auto given = reader_.text(member.value, where, "its value in quotes");
    if (!is_label_name(name))
      reader_.refuse(where, "this is not a label's name: letters and digits, with '.', '_', '-' and '/' between them");
    else if (name.starts_with("io.nixery."))
      reader_.refuse(where, "labels that begin with 'io.nixery.' are the registry's own");
    else if (given && !config_.labels.emplace(name, *std::move(given)).second)
      reader_.refuse(where, "this label is given twice");
  }
}

void ConfigReader::exposed_ports(const Value& value) {
  auto& ports = config_.exposed_ports;
  for (const Item& item :
       reader_.texts(value, "config.exposedPorts", max_ports, "a list of ports, such as [\"80/tcp\"]")) {
    const auto port = port_of(item.text);
    if (!port)
      reader_.refuse(item.where,
                     fmt::format("{} is not a port: give a number from 1 to 65535, with /tcp, /udp or /sctp",
                                 text::in_quotes(item.text)));
    else if (std::find(ports.begin(), ports.end(), *port) != ports.end())
      reader_.refuse(item.where, fmt::format("{} is listed twice", text::in_quotes(*port)));
    else
      ports.push_back(*port);
  }
  std::sort(ports.begin(), ports.end());
}

void ConfigReader::user(const Value& value) {
  const auto given = reader_.text(value, "config.user", "a user, such as \"nobody\", \"101\" or \"101:101\"");
  if (!given || given->empty()) return;
  std::string problem;
  if (const auto found = accounts_.find(*given, problem))
    config_.user = found->numbers;
  else
    reader_.refuse("config.user", problem);
}

void ConfigReader::workdir(const Value& value) {
  config_.workdir = reader_.text(value, "config.workdir", "a directory, such as \"/srv\"").value_or("");
  if (!config_.workdir.empty() && !is_workdir(config_.workdir))
    reader_.refuse("config.workdir", fmt::format("{} is not a working directory: give an absolute path without '..'",
                                                 text::in_quotes(config_.workdir)));
}

void ConfigReader::stop_signal(const Value& value) {
  config_.stop_signal = reader_.text(value, "config.stopSignal", "a signal, such as \"SIGQUIT\" or \"3\"").value_or("");
  if (!config_.stop_signal.empty() && !is_signal(config_.stop_signal))
    reader_.refuse(
        "config.stopSignal",
        fmt::format("{} is not a signal: give a name, such as SIGQUIT or SIGRTMIN+3, or a number from 1 to 64",
                    text::in_quotes(config_.stop_signal)));
}

void ConfigReader::volumes(const Value& value) {
  for (Item& item : reader_.texts(value, "config.volumes", max_volumes, "a list of directories, such as [\"/data\"]")) {
    if (const auto problem = problem_of_image_path(item.text))
      reader_.refuse(item.where, *problem);
    else if (std::find(config_.volumes.begin(), config_.volumes.end(), item.text) != config_.volumes.end())
      reader_.refuse(item.where, fmt::format("{} is listed twice", text::in_quotes(item.text)));
    else
      config_.volumes.push_back(std::move(item.text));
  }
  std::sort(config_.volumes.begin(), config_.volumes.end());
}

void ConfigReader::shell(const Value& value) {
  config_.shell = reader_.arguments(value, "config.shell");
  if (value.IsArray() && (value.Empty() || (value[0].IsString() && view(value[0]).empty())))
    reader_.refuse("config.shell", "this is empty: name the shell and its arguments, such as [\"/bin/bash\", \"-c\"]");
}

std::vector<std::string> ConfigReader::test(const Value& value) {
  if (value.IsString()) {
    auto command = reader_.text(value, "config.healthcheck.test", "a command");
    if (command && command->empty()) reader_.refuse("config.healthcheck.test", "this is empty: give a command");
    return {"CMD-SHELL", std::move(command).value_or("")};
  }
  auto words = reader_.arguments(value, "config.healthcheck.test");
  if (!value.IsArray() || words.size() != value.Size()) return words;
  const bool is_valid = !words.empty() && ((words[0] == "NONE" && words.size() == 1) ||
                                           (words[0] == "CMD-SHELL" && words.size() == 2 && !words[1].empty()) ||
                                           (words[0] == "CMD" && words.size() >= 2 && !words[1].empty()));
  if (!is_valid)
    reader_.refuse("config.healthcheck.test",
                   "give [\"CMD\", program, arguments…], [\"CMD-SHELL\", command] or [\"NONE\"]");
  return words;
}

std::chrono::milliseconds ConfigReader::duration(const Value& object, const char* field) {
  const Value* value = json::find(object, field);
  if (!value) return {};
  const std::string where = fmt::format("config.healthcheck.{}", field);
  const auto given = reader_.text(*value, where, "a time, such as \"30s\"");
  if (!given) return {};
  const auto time = healthcheck_time(*given);
  if (!time)
    reader_.refuse(
        where, fmt::format("{} is not a time: give 1ms to 24h, such as 30s, 1m30s or 500ms", text::in_quotes(*given)));
  return time.value_or(std::chrono::milliseconds{});
}

void ConfigReader::healthcheck(const Value& value) {
  const std::string where = "config.healthcheck";
  if (!reader_.is_object(value, where, R"(an object, such as {"test": ["CMD", "curl", "-f", "http://localhost/"]})"))
    return;
  reader_.check_fields(value, where, {"test", "interval", "timeout", "startPeriod", "startInterval", "retries"});
  Healthcheck check;
  if (const Value* given = json::find(value, "test"))
    check.test = test(*given);
  else
    reader_.refuse(where, "the field 'test' is missing: the command that checks the container");
  check.interval = duration(value, "interval");
  check.timeout = duration(value, "timeout");
  check.start_period = duration(value, "startPeriod");
  check.start_interval = duration(value, "startInterval");
  if (const Value* given = json::find(value, "retries"))
    check.retries = reader_.number(*given, "config.healthcheck.retries", 1, max_retries).value_or(0);
  config_.healthcheck = std::move(check);
}

ImageConfig ConfigReader::config(const Value& value) {
  if (!reader_.is_object(value, "config", "an object, such as {\"cmd\": [\"nginx\"]}")) return config_;
  reader_.check_fields(value, "config",
                       {"entrypoint", "cmd", "env", "user", "workdir", "labels", "exposedPorts", "stopSignal",
                        "volumes", "healthcheck", "shell", "onBuild", "users", "directories", "files"});
  for (const char* field : {"users", "directories", "files"})
    if (json::find(value, field))
      reader_.refuse(fmt::format("config.{}", field), "this is no part of 'config': give it beside 'config'");
  commands(value);
  constexpr std::array<std::pair<const char*, void (ConfigReader::*)(const Value&)>, 9> fields{{
      {"env", &ConfigReader::env},
      {"user", &ConfigReader::user},
      {"workdir", &ConfigReader::workdir},
      {"labels", &ConfigReader::labels},
      {"exposedPorts", &ConfigReader::exposed_ports},
      {"stopSignal", &ConfigReader::stop_signal},
      {"volumes", &ConfigReader::volumes},
      {"healthcheck", &ConfigReader::healthcheck},
      {"shell", &ConfigReader::shell},
  }};
  for (const auto& [field, read] : fields)
    if (const Value* given = json::find(value, field)) (this->*read)(*given);
  if (json::find(value, "onBuild"))
    reader_.refuse("config.onBuild",
                   "this is not supported: these instructions would run unseen in the builds of other people, and only "
                   "in Docker's format; write them into the Dockerfile that is FROM this image");
  return config_;
}

void write_map(json::Writer& writer, std::string_view key, const std::map<std::string, std::string>& map) {
  json::key(writer, key);
  writer.StartObject();
  for (const auto& [name, value] : map) json::member(writer, name, value);
  writer.EndObject();
}

void write_healthcheck(json::Writer& writer, const Healthcheck& check) {
  const auto time = [&](std::string_view key, std::chrono::milliseconds value) {
    json::member(writer, key, static_cast<std::uint64_t>(value.count()));
  };
  writer.StartObject();
  json::member_strings(writer, "test", check.test);
  time("interval", check.interval);
  time("timeout", check.timeout);
  time("startPeriod", check.start_period);
  time("startInterval", check.start_interval);
  json::member(writer, "retries", std::uint64_t{check.retries});
  writer.EndObject();
}

}  // namespace

ImageConfig read_config(FieldReader& reader, const Value& value, const Accounts& accounts) {
  return ConfigReader(reader, accounts).config(value);
}

void write_config(json::Writer& writer, const ImageConfig& config) {
  writer.StartObject();
  if (config.entrypoint) json::member_strings(writer, "entrypoint", *config.entrypoint);
  if (config.cmd) json::member_strings(writer, "cmd", *config.cmd);
  write_map(writer, "env", config.env);
  json::member(writer, "user", config.user);
  json::member(writer, "workdir", config.workdir);
  write_map(writer, "labels", config.labels);
  json::member_strings(writer, "exposedPorts", config.exposed_ports);
  if (!config.stop_signal.empty()) json::member(writer, "stopSignal", config.stop_signal);
  if (!config.volumes.empty()) json::member_strings(writer, "volumes", config.volumes);
  if (!config.shell.empty()) json::member_strings(writer, "shell", config.shell);
  if (config.healthcheck) {
    json::key(writer, "healthcheck");
    write_healthcheck(writer, *config.healthcheck);
  }
  writer.EndObject();
}

}  // namespace nixery::reference
