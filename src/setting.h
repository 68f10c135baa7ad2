// Documentation of a setting, for `nixery config --markdown`, packaging/SETTINGS.md, the manual and help.
#pragma once

#include <string>

namespace nixery {

struct SettingDescription {
  std::string name;           // "NIXERY_TREE"
  std::string default_value;  // empty: none
  bool literal;               // false: `default_value` describes a value that depends on the machine
  std::string meaning;        // one line, no '|'
};

}  // namespace nixery
