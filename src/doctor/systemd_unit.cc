#include "doctor/systemd_unit.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "os/file.h"
#include "os/path.h"
#include "text/lines.h"

namespace nixery::doctor {

namespace {

// As systemd.unit(5) has them, the most important first.
constexpr std::array<const char*, 5> unit_directories = {"etc/systemd/system", "run/systemd/system",
                                                         "usr/local/lib/systemd/system", "usr/lib/systemd/system",
                                                         "lib/systemd/system"};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r";
  const auto start = text.find_first_not_of(blank);
  if (start == text.npos) return {};
  return text.substr(start, text.find_last_not_of(blank) - start + 1);
}

// Blanks separate; quotes keep them.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  char quote = 0;
  bool begun = false;
  for (const char c : text) {
    if (quote ? c == quote : c == '"' || c == '\'') {
      quote = quote ? 0 : c;
      begun = true;
    } else if (!quote && (c == ' ' || c == '\t')) {
      if (begun) words.push_back(std::move(word));
      word.clear();
      begun = false;
    } else {
      word += c;
      begun = true;
    }
  }
  if (begun) words.push_back(std::move(word));
  return words;
}

bool is_true(std::string_view value) {
  return value == "yes" || value == "true" || value == "on" || value == "1";
}

class Reader {
 public:
  void read(std::string_view text) {
    section_.clear();
    std::string line;
    text::for_each_line(text, [&](std::string_view piece) {
      const std::string_view part = trimmed(piece);
      if (part.starts_with('#') || part.starts_with(';')) return;
      const bool goes_on = part.ends_with('\\');
      line += goes_on ? part.substr(0, part.size() - 1) : part;
      if (goes_on) {
        line += ' ';
        return;
      }
      take(line);
      line.clear();
    });
    take(line);
  }

  ServiceUnit unit;

 private:
  void take(std::string_view line) {
    if (line.starts_with('[')) section_ = line;
    const auto equals = line.find('=');
    if (section_ != "[Service]" || equals == line.npos) return;
    const std::string_view name = trimmed(line.substr(0, equals)), value = trimmed(line.substr(equals + 1));
    if (name == "User") unit.user = value;
    if (name == "ProtectSystem") unit.protect_system = is_true(value) ? "yes" : value;
    if (name == "ProtectHome") unit.protect_home = is_true(value) ? "yes" : value;
    if (name == "PrivateTmp") unit.private_tmp = is_true(value) || value == "disconnected";
    if (name == "EnvironmentFile") add(unit.settings, value, "");
    if (name == "ReadWritePaths" || name == "BindPaths") add(unit.writable, value, "");
    if (name == "ReadOnlyPaths" || name == "InaccessiblePaths") add(unit.read_only, value, "");
    constexpr std::array<std::pair<std::string_view, const char*>, 4> own = {{{"StateDirectory", "/var/lib/"},
                                                                              {"CacheDirectory", "/var/cache/"},
                                                                              {"LogsDirectory", "/var/log/"},
                                                                              {"RuntimeDirectory", "/run/"}}};
    for (const auto& [directive, parent] : own)
      if (name == directive) add(unit.writable, value, parent);
  }

  // An empty value takes back what was given before.
  static void add(std::vector<fs::path>& paths, std::string_view value, std::string_view parent) {
    if (value.empty()) paths.clear();
    for (std::string& word : words_of(value)) {
      word.erase(0, std::min(word.find_first_not_of("-+"), word.size()));
      // BindPaths=source:destination:options; the worker sees the destination.
      if (const auto colon = word.find(':'); colon != word.npos) {
        const auto end = word.find(':', colon + 1);
        word = word.substr(colon + 1, end == word.npos ? end : end - colon - 1);
      }
      if (!word.empty()) paths.push_back((std::string(parent) + word));
    }
  }

  std::string section_;
};

bool is_below(const fs::path& path, const fs::path& directory) {
  return os::is_below(path.lexically_normal(), directory.lexically_normal());
}

// By the longest of `directories` that holds it; 0: none does.
std::size_t depth_of(const fs::path& path, const std::vector<fs::path>& directories) {
  std::size_t depth = 0;
  for (const fs::path& directory : directories)
    if (is_below(path, directory))
      depth = std::max(depth, static_cast<std::size_t>(std::distance(directory.begin(), directory.end())));
  return depth;
}

}  // namespace

ServiceUnit parse_unit(const std::vector<std::string>& files) {
  Reader reader;
  for (const std::string& file : files) reader.read(file);
  return std::move(reader.unit);
}

std::optional<ServiceUnit> find_unit(const std::string& name, const fs::path& root) {
  std::vector<std::string> files;
  std::map<std::string, fs::path> drop_ins;  // by name: one of /etc stands for another of /usr
  for (const char* directory : unit_directories) {
    const fs::path where = root / directory;
    if (files.empty())
      if (auto text = os::read_if_readable(where / name)) files.push_back(*std::move(text));
    std::error_code absent;
    for (const auto& entry : fs::directory_iterator(where / (name + ".d"), absent))
      if (entry.path().extension() == ".conf") drop_ins.emplace(entry.path().filename(), entry.path());
  }
  if (files.empty()) return std::nullopt;
  for (const auto& [_, path] : drop_ins) files.push_back(os::read_if_readable(path).value_or(""));
  return parse_unit(files);
}

std::string restart_command(std::initializer_list<const char*> units, const fs::path& root) {
  std::string known;
  for (const char* unit : units)
    if (find_unit(unit, root)) known += fmt::format(" {}", unit);
  return known.empty() ? known : "systemctl restart" + known;
}

std::string write_barrier(const ServiceUnit& unit, const fs::path& path) {
  const std::size_t allowed = depth_of(path, unit.writable);
  if (const std::size_t refused = depth_of(path, unit.read_only); refused > allowed) return "ReadOnlyPaths=";
  const auto any_of = [&](std::initializer_list<const char*> tops) {
    return std::any_of(tops.begin(), tops.end(), [&](const char* top) { return is_below(path, top); });
  };
  if (unit.protect_home != "no" && unit.protect_home != "false" && any_of({"/home", "/root", "/run/user"})) {
    // What is not there at all cannot be given back below it.
    if (unit.protect_home != "read-only" || allowed == 0) return "ProtectHome=" + unit.protect_home;
    return {};
  }
  if (unit.private_tmp && any_of({"/tmp", "/var/tmp"})) return "PrivateTmp=yes";
  if (allowed > 0) return {};
  const std::string& protects = unit.protect_system;
  if (protects == "strict" && !any_of({"/dev", "/proc", "/sys"})) return "ProtectSystem=strict";
  if (protects == "full" && any_of({"/usr", "/boot", "/efi", "/etc"})) return "ProtectSystem=full";
  if (protects == "yes" && any_of({"/usr", "/boot", "/efi"})) return "ProtectSystem=yes";
  return {};
}

}  // namespace nixery::doctor
