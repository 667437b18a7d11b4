"""What people see and type: screens, tables, interactive sessions."""
